/* the table: sort by a click on a heading, find by a word */
const table = one("#table");
if (table) {
  const body = one("tbody", table), heads = all("thead th, thead td", table);
  const keyOf = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.sort ?? one("data", cell)?.value ?? cell.textContent.trim();
    return text === "" ? null : Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };
  heads.forEach((head, column) => one("button", head)?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })) * (down ? -1 : 1);
    };
    body.append(...[...body.rows].sort((a, b) => compare(keyOf(a, column), keyOf(b, column))));
  }));
  const find = one("#find"), rating = one("#qc-rating");
  const filterRows = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean), rows = [...body.rows], wanted = rating ? one(":checked", rating).value : "";
    for (const row of rows) row.hidden = Boolean(wanted && row.dataset.qcRating !== wanted) || !words.every((word) => row.textContent.toLowerCase().includes(word));
    one("#found").textContent = words.length || wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  };
  const column = one("#column");
  column?.addEventListener("change", () => {
    const cells = JSON.parse(one("#data").textContent).study[column.value] ?? {};
    for (const cell of all(".study", table)) cell.hidden = !column.value;
    one("th.study button", table).textContent = column.value;
    for (const row of body.rows) one(".study", row).textContent = cells[row.dataset.key] ?? "";
  });
  find.addEventListener("input", filterRows);
  rating?.addEventListener("change", filterRows);
}

/* plots */
const source = one("#data"), tip = one("#tip");
if (source && one("#overview-plot")) {
  const { measures, results: everyone, study } = JSON.parse(source.textContent);
  /* what a participant has in a column: one of ours, or one of the study (study:NAME) */
  const nameOf = (column) => column.replace(/^study:/, "");
  const cellOf = (result, column) => (column.startsWith("study:") ? study[nameOf(column)][result.key] : result[column]);
  let results = everyone;
  const node = (name, attributes = {}, ...children) => {
    const out = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
    out.append(...children);
    return out;
  };
  const quantile = (sorted, q) => {
    const at = q * (sorted.length - 1), low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  };
  const state = { mode: "absolute", sides: false, measure: 0, marked: "" };
  const valueOf = (result, m) => {
    const value = result.values[m];
    if (value === null || state.mode === "absolute" || measures[m].group === "Quality") return value;
    return result.values[0] ? (100 * value) / result.values[0] : null;
  };
  const show = (value, m = state.measure) => {
    if (measures[m].group === "Quality") return `${+value.toPrecision(4)} ${measures[m].unit}`.trim();
    return state.mode === "absolute" ? showVolume(value, "mL") : `${value.toFixed(value < 1 ? 3 : 2)} %`;
  };
  /* numbers of an axis: as many digits as tell neighboring ticks apart */
  const showTick = (value, step, m = state.measure) => {
    const volume = measures[m].group !== "Quality" && state.mode === "absolute", scale = volume ? 1000 : 1;
    const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step / scale) - 1e-9)));
    const text = (value / scale).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    const unit = volume ? "mL" : measures[m].group === "Quality" ? measures[m].unit : "%";
    return `${text} ${unit}`.trim();
  };
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} %`;

  /* the same offset for a participant in every strip, so that points do not hide each other */
  everyone.forEach((result, i) => { result.jitter = ((i * 0.618034) % 1) - 0.5; });
  /* more dots than this are drawn on a canvas, which is much faster */
  const MANY = 4000;

  const highlight = (key) => {
    for (const dot of all(".dot.lit")) dot.classList.remove("lit");
    for (const row of all("tr.lit")) row.classList.remove("lit");
    repaint?.(key);
    if (!key) return;
    for (const dot of all(`.dot[data-key="${CSS.escape(key)}"]`)) dot.classList.add("lit");
    one(`tr[data-key="${CSS.escape(key)}"]`)?.classList.add("lit");
  };
  let repaint = null;
  const showTip = (box, words) => {
    tip.textContent = words;
    tip.hidden = false;
    const width = tip.offsetWidth, left = box.right + 8 + width > innerWidth ? box.left - 8 - width : box.right + 8;
    tip.style.left = `${Math.max(4, left)}px`; tip.style.top = `${Math.max(4, box.top - 12)}px`;
  };
  const dotOf = (result, x, y, words, kind = "", focusable = false, r = 5) => {
    const dot = node("circle", { class: `dot ${kind}`, cx: x, cy: y, r, "data-key": result.key });
    const link = node("a", { href: result.report, tabindex: focusable ? 0 : -1, "aria-label": `${result.key}: ${words}` }, dot);
    const enter = () => {
      showTip(dot.getBoundingClientRect(), `${result.key}: ${words}`);
      highlight(result.key);
    };
    const leave = () => { tip.hidden = true; highlight(state.marked); };
    link.addEventListener("pointerenter", enter); link.addEventListener("pointerleave", leave);
    link.addEventListener("focus", enter); link.addEventListener("blur", leave);
    return link;
  };

  const overview = () => {
    const rows = measures.map((measure, m) => ({ measure, m })).filter(({ measure, m }) => {
      if (state.mode === "relative" && m === 0) return false;
      if (measure.group === "Quality") return false;
      if (measure.group === "Sides") return state.sides;
      return !(state.sides && measure.group === "Structures" && measure.parts.length === 2);
    });
    const room = one("#overview-plot").clientWidth, narrow = room > 0 && room < 700;
    const title = (measure) => (narrow ? measure.name.replace(/ \([a-z_]+\)$/, "") : measure.name);
    const longest = Math.max(...rows.map(({ measure }) => title(measure).length));
    const width = narrow ? Math.max(420, room) : 1100, left = Math.min(420, Math.max(160, 40 + 7.2 * longest)), right = 20, top = 8, step = 24, height = top + rows.length * step + 42;
    const found = rows.map(({ m }) => {
      const values = results.map((result) => valueOf(result, m)).filter((v) => v !== null).sort((a, b) => a - b);
      return { values, median: values.length ? quantile(values, 0.5) : 0 };
    });
    const spread = found.flatMap(({ values, median }) => values.map((v) => Math.abs(100 * (v / median - 1)))).filter(Number.isFinite).sort((a, b) => a - b);
    const reach = Math.max(10, Math.min(100, Math.ceil((spread.length ? quantile(spread, 0.98) : 10) / 10) * 10));
    const across = (percent) => left + (width - left - right) * (0.5 + Math.max(-1, Math.min(1, percent / reach)) / 2);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}` });
    for (const percent of (narrow ? [-1, 0, 1] : [-1, -0.5, 0, 0.5, 1]).map((part) => part * reach)) {
      svg.append(node("line", { class: percent ? "grid" : "zero", x1: across(percent), x2: across(percent), y1: top, y2: height - 38 }));
      svg.append(node("text", { x: across(percent), y: height - 22, "text-anchor": "middle" }, percent ? signed(percent).replace(".0", "") : "median"));
    }
    svg.append(node("text", { x: narrow ? width - 4 : across(0), y: height - 4, "text-anchor": narrow ? "end" : "middle" }, `deviation from the median; points beyond ±${reach} % are drawn at the edge`));
    const painted = rows.length * results.length > MANY ? [] : null;
    rows.forEach(({ measure, m }, i) => {
      const y = top + i * step + step / 2, { values, median } = found[i], percent = (v) => 100 * (v / median - 1);
      const label = node("text", { class: "label pick", x: left - 28, y: y + 4.5, "text-anchor": "end" }, title(measure));
      label.addEventListener("click", () => { choose(m); one("#one").scrollIntoView(); });
      if (measure.color) svg.append(node("rect", { x: left - 21, y: y - 5.5, width: 11, height: 11, rx: 3, fill: measure.color, stroke: "#0003" }));
      svg.append(label);
      if (values.length > 4 && median) {
        const [low, high] = [across(percent(quantile(values, 0.25))), across(percent(quantile(values, 0.75)))];
        svg.append(node("rect", { class: "box", x: low, y: y - 8, width: Math.max(1, high - low), height: 16, rx: 3 }));
      }
      const dots = node("g");
      for (const result of results) {
        const value = valueOf(result, m);
        if (value === null || !median) continue;
        const at = [across(percent(value)), y + result.jitter * 10], words = () => `${measure.name} ${show(value, m)}, ${signed(percent(value))} from the median`;
        if (painted) painted.push({ result, x: at[0], y: at[1], words });
        else dots.append(dotOf(result, ...at, words(), "", false, results.length > 60 ? 3.2 : 4.6));
      }
      svg.append(dots);
      if (results.length > 30 && values.length && median) {
        const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => across(percent(quantile(values, q))));
        svg.append(node("path", { class: "quartiles", d: `M${low},${y - 8}h${high - low}v16h${low - high}ZM${middle},${y - 8}v16` }));
      }
    });
    one("#overview-plot").replaceChildren(svg);
    repaint = painted && paint(painted, width, height, svg);
  };

  /* the dots of the overview on a canvas below the SVG; hover, click and highlight work as for elements */
  const paint = (dots, width, height, svg) => {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d"), colors = getComputedStyle(document.body);
    canvas.width = 2 * width; canvas.height = 2 * height;
    canvas.className = "dots"; canvas.dataset.dots = dots.length;
    context.scale(2, 2);
    const [fill, ink] = ["--left", "--ink"].map((name) => colors.getPropertyValue(name));
    const cells = new Map(), cell = (x, y) => `${Math.floor(x / 12)},${Math.floor(y / 12)}`;
    for (const dot of dots) {
      const name = cell(dot.x, dot.y);
      if (!cells.has(name)) cells.set(name, []);
      cells.get(name).push(dot);
    }
    const put = (key) => {
      context.clearRect(0, 0, width, height);
      context.fillStyle = fill; context.globalAlpha = 0.45;
      for (const { x, y } of dots) context.fillRect(x - 1.6, y - 1.6, 3.2, 3.2);
      context.fillStyle = ink; context.globalAlpha = 1;
      if (key) for (const { result, x, y } of dots) if (result.key === key) { context.beginPath(); context.arc(x, y, 4.5, 0, 7); context.fill(); }
    };
    const near = (event) => {
      const box = canvas.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * width, y = ((event.clientY - box.top) / box.height) * height;
      let best = null, least = 64;
      for (const dx of [-12, 0, 12]) for (const dy of [-12, 0, 12]) for (const dot of cells.get(cell(x + dx, y + dy)) ?? []) {
        const far = (dot.x - x) ** 2 + (dot.y - y) ** 2;
        if (far < least) { least = far; best = dot; }
      }
      return best;
    };
    let last = null;
    svg.addEventListener("pointermove", (event) => {
      const dot = near(event);
      svg.style.cursor = dot ? "pointer" : "";
      if (dot === last) return;
      last = dot;
      if (dot) showTip({ left: event.clientX, right: event.clientX, top: event.clientY }, `${dot.result.key}: ${dot.words()}`);
      else tip.hidden = true;
      highlight(dot ? dot.result.key : state.marked);
    });
    svg.addEventListener("pointerleave", () => { last = null; tip.hidden = true; highlight(state.marked); });
    svg.addEventListener("click", (event) => { const dot = near(event); if (dot && !event.target.closest(".pick")) location.href = dot.result.report; });
    svg.style.position = "relative";
    svg.before(canvas);
    put(state.marked);
    return put;
  };

  const ticks = (low, high, count) => {
    const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= 0.75 * rough), out = [];
    for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) out.push(t);
    return out;
  };
  const radius = results.length > 60 ? 3.6 : 5;
  const KINDS = ["", "two", "three"];
  const frame = (values) => {
    const width = 560, height = 330, left = 74, right = 14, top = 14, bottom = 44;
    let low = Math.min(...values), high = Math.max(...values);
    const pad = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
    low -= pad; high += pad;
    const y = (v) => top + (height - top - bottom) * (1 - (v - low) / (high - low));
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}` });
    const marks = ticks(low, high, 5), step = marks[1] - marks[0] || high - low;
    for (const t of marks) {
      svg.append(node("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }));
      svg.append(node("text", { x: left - 7, y: y(t) + 4, "text-anchor": "end" }, showTick(t, step)));
    }
    return { svg, y, width, height, left, right, bottom };
  };

  const detail = () => {
    const m = state.measure, split = one("#split")?.value ?? "";
    const known = results.map((result) => ({ result, value: valueOf(result, m) })).filter(({ value }) => value !== null);
    const levels = split ? [...new Set(known.map(({ result }) => cellOf(result, split) || "n/a"))].sort((a, b) => a.localeCompare(b, "en", { numeric: true })) : [""];
    const kind = (result) => (split ? KINDS[levels.indexOf(cellOf(result, split) || "n/a") % 3] : "");
    const strip = one("#strip-plot"), against = one("#age-plot"), words = one("#summary-words");
    if (!known.length) { strip.replaceChildren(); against?.replaceChildren(); words.textContent = ""; return; }
    const values = known.map(({ value }) => value), f = frame(values);
    levels.forEach((level, k) => {
      const middle = f.left + ((f.width - f.left - f.right) * (k + 0.5)) / levels.length, half = Math.min(70, (f.width - f.left) / levels.length / 2.6);
      const mine = known.filter(({ result }) => !split || (cellOf(result, split) || "n/a") === level), sorted = mine.map(({ value }) => value).sort((a, b) => a - b);
      if (sorted.length > 4) {
        const [a, b, c] = [0.25, 0.5, 0.75].map((q) => f.y(quantile(sorted, q)));
        f.svg.append(node("line", { class: "whisker", x1: middle, x2: middle, y1: f.y(sorted[0]), y2: f.y(sorted.at(-1)) }), node("rect", { class: "box", x: middle - half, width: 2 * half, y: c, height: Math.max(1, a - c), rx: 4 }), node("line", { class: "whisker", x1: middle - half, x2: middle + half, y1: b, y2: b }));
      }
      const dots = node("g");
      for (const { result, value } of mine) dots.append(dotOf(result, middle + result.jitter * half * 1.5, f.y(value), `${measures[m].name} ${show(value)}`, kind(result), true, radius));
      f.svg.append(dots);
      if (sorted.length > 30) {
        const [a, b, c] = [0.25, 0.5, 0.75].map((q) => f.y(quantile(sorted, q)));
        f.svg.append(node("path", { class: "quartiles", d: `M${middle - half},${a}H${middle + half}V${c}H${middle - half}ZM${middle - half},${b}H${middle + half}` }));
      }
      f.svg.append(node("text", { class: "label", x: middle, y: f.height - 14, "text-anchor": "middle" }, level ? `${nameOf(split)} ${level} (n = ${mine.length})` : `n = ${mine.length}`));
    });
    strip.replaceChildren(f.svg);
    const sorted = [...values].sort((a, b) => a - b);
    words.textContent = `${measures[m].name}: median ${show(quantile(sorted, 0.5))}, from ${show(sorted[0])} to ${show(sorted.at(-1))}.`;
    if (against) words.textContent += drawAge(against, known, kind);
  };

  const drawAge = (plot, known, kind) => {
    const column = one("#against")?.value ?? "age", ofAge = column === "age";
    const placeOf = (result) => { const cell = cellOf(result, column); return cell === null || cell === undefined ? null : Number(cell); };
    const aged = known.filter(({ result }) => placeOf(result) !== null);
    if (!aged.length) { plot.replaceChildren(); return ""; }
    const f = frame(aged.map(({ value }) => value)), ages = aged.map(({ result }) => placeOf(result));
    let low = Math.min(...ages), high = Math.max(...ages);
    const pad = (high - low) * 0.06 || 1;
    low -= pad; high += pad;
    const x = (age) => f.left + ((f.width - f.left - f.right) * (age - low)) / (high - low);
    const places = ticks(low, high, 6), digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(places[1] - places[0] || 1) - 1e-9)));
    for (const t of places) f.svg.append(node("line", { class: "grid", x1: x(t), x2: x(t), y1: 14, y2: f.height - f.bottom }), node("text", { x: x(t), y: f.height - 26, "text-anchor": "middle" }, t.toFixed(digits)));
    f.svg.append(node("text", { class: "label", x: (f.left + f.width) / 2, y: f.height - 7, "text-anchor": "middle" }, ofAge ? "age (years)" : nameOf(column)));
    let text = "";
    if (aged.length > 4 && new Set(ages).size > 2) {
      const n = aged.length, mean = (list) => list.reduce((a, b) => a + b, 0) / n, ma = mean(ages), mv = mean(aged.map(({ value }) => value));
      const sxy = mean(aged.map(({ result, value }) => (placeOf(result) - ma) * (value - mv))), sxx = mean(ages.map((age) => (age - ma) ** 2)), syy = mean(aged.map(({ value }) => (value - mv) ** 2));
      const slope = sxy / sxx, at = (age) => mv + slope * (age - ma), [from, to] = [Math.min(...ages), Math.max(...ages)];
      f.svg.append(node("line", { class: "fit", x1: x(from), x2: x(to), y1: f.y(at(from)), y2: f.y(at(to)) }));
      const per = ofAge ? `, ${slope < 0 ? "−" : "+"}${show(Math.abs(slope) * 10)} per ten years` : "";
      text = ` Against ${nameOf(column)}: r = ${(sxy / Math.sqrt(sxx * syy || 1)).toFixed(2).replace("-", "−")} (n = ${n})${per}.`;
    }
    const dots = node("g");
    for (const { result, value } of aged) dots.append(dotOf(result, x(placeOf(result)), f.y(value), `${ofAge ? `${result.age} years` : `${nameOf(column)} ${cellOf(result, column)}`}, ${measures[state.measure].name} ${show(value)}`, kind(result), true, radius));
    f.svg.append(dots);
    plot.replaceChildren(f.svg);
    return text;
  };

  const select = one("#measure");
  for (const group of ["Whole brain", "Structures", "Sides", "Quality"]) {
    const part = document.createElement("optgroup");
    part.label = group === "Sides" ? "Left and right separately" : group;
    measures.forEach((measure, m) => { if (measure.group === group) part.append(new Option(measure.name, m)); });
    if (part.children.length) select.append(part);
  }
  const choose = (m) => { state.measure = m; select.value = m; detail(); };
  select.addEventListener("change", () => choose(Number(select.value)));
  one("#split")?.addEventListener("change", detail);
  one("#against")?.addEventListener("change", detail);
  one("#sides").addEventListener("change", (event) => { state.sides = event.target.checked; overview(); });
  one("[data-mode]").addEventListener("change", (event) => { state.mode = event.target.value; overview(); detail(); highlight(state.marked); });
  one("#qc-rating")?.addEventListener("change", (event) => {
    results = everyone.filter((result) => !event.target.value || result.qc_rating === event.target.value);
    one("#shown").textContent = `n = ${results.length}`;
    overview(); detail(); highlight(state.marked);
  });
  one("#mark").addEventListener("input", (event) => { state.marked = event.target.value.trim(); highlight(state.marked); });
  overview();
  choose(Math.max(0, measures.findIndex((measure) => measure.name === "Hippocampus")));
  document.body.dataset.ready = "yes";
}
