/* the figures: a script in the figures folder, one file for all */
window.brainsegFigures = (found) => {
  for (const image of all("img[data-figure]")) if (found[image.dataset.figure]) image.src = found[image.dataset.figure];
};
const pack = one("#pack");
if (pack) {
  const script = document.createElement("script");
  script.src = pack.dataset.script;
  script.onerror = () => { pack.hidden = false; };
  document.body.append(script);
}

/* layers over a figure */
for (const view of all("[data-view]")) {
  const layers = (name) => all(`img[data-layer="${name}"]`, view);
  for (const box of all("input[data-layer]", view)) {
    const apply = () => layers(box.dataset.layer).forEach((image) => { image.hidden = !box.checked; image.style.display = box.checked ? "" : "none"; });
    box.addEventListener("change", apply);
    apply();
  }
  const opacity = one("[data-opacity]", view);
  opacity?.addEventListener("input", () => {
    for (const image of all("img[data-layer]", view)) image.style.opacity = opacity.value / 100;
  });
  one("[data-enlarge]", view)?.addEventListener("click", () => {
    const dialog = document.createElement("dialog");
    const close = document.createElement("button");
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.append(close, one(".frame", view).cloneNode(true));
    dialog.className = view.classList.contains("paused") ? "paused" : "";
    dialog.style.setProperty("--blend", view.style.getPropertyValue("--blend"));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/* image and template alternate */
for (const view of all(".flicker")) {
  const button = one("[data-pause]", view), slider = one("[data-blend]", view);
  if (!button) continue;
  const pause = (still) => {
    view.classList.toggle("paused", still);
    button.setAttribute("aria-pressed", String(still));
    button.textContent = still ? "Resume" : "Pause";
    if (!still) for (const radio of all("input[name=blend]", view)) radio.checked = false;
  };
  const blend = (value) => {
    view.style.setProperty("--blend", value / 100);
    slider.value = value;
    for (const radio of all("input[name=blend]", view)) radio.checked = radio.value === String(value);
    pause(true);
  };
  button.addEventListener("click", () => {
    if (view.classList.contains("paused")) pause(false); else blend(Number(slider.value));
  });
  slider.addEventListener("input", () => blend(Number(slider.value)));
  for (const radio of all("input[name=blend]", view)) radio.addEventListener("change", () => blend(Number(radio.value)));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) blend(0);
}

/* the viewer: its data are a script in the figures folder, loaded when the viewer comes into view */
const viewer = one("#viewer");
if (viewer && "DecompressionStream" in window) {
  viewer.hidden = false;
  const load = () => {
    const script = document.createElement("script");
    script.src = viewer.dataset.script;
    script.onerror = () => { one("#readout").textContent = "The data of the viewer are missing: keep the folder sub-…/figures with this page."; };
    document.body.append(script);
  };
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watch.disconnect(); load(); }
  }, { rootMargin: "300px" });
  watch.observe(viewer);
}

const inflate = async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const unpackImage = async ({ shape: [X, Y, Z], columns, image }) => {
  const sheet = new Image();
  sheet.src = `data:image/webp;base64,${image}`;
  await sheet.decode();
  const canvas = new OffscreenCanvas(sheet.width, sheet.height), context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sheet, 0, 0);
  const pixels = context.getImageData(0, 0, sheet.width, sheet.height).data, out = new Uint8Array(X * Y * Z);
  for (let z = 0, at = 0; z < Z; z++) {
    const top = Math.floor(z / columns) * Y, left = (z % columns) * X;
    for (let y = 0; y < Y; y++) for (let x = 0; x < X; x++) out[at++] = pixels[4 * ((top + y) * sheet.width + left + x)];
  }
  return out;
};

window.brainsegViewer = async (data) => {
  const PLANES = { axial: [0, 1, 2, "L", "R"], coronal: [0, 2, 1, "L", "R"], sagittal: [1, 2, 0, "P", "A"] };
  const tables = JSON.parse(one("#labels").textContent), labels = tables.structures;
  const [structures, tissues, gray] = await Promise.all([inflate(data.structures), inflate(data.tissues), unpackImage(data)]);
  const shape = data.shape, step = [1, shape[0], shape[0] * shape[1]], here = shape.map((n) => n >> 1);
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const palettes = {
    structures: labels.map((label) => rgb(label.color)),
    tissues: tables.tissues.map((tissue) => rgb(tissue ? tissue.color : "#000000")),
    mask: [[0, 0, 0], rgb(tables.mask)],
    none: [[0, 0, 0]],
  };
  const valueAt = {
    structures: (i) => structures[i], tissues: (i) => tissues[i] & 7, mask: (i) => tissues[i] >> 3, none: () => 0,
  };
  let show = "structures", chosen = 0, queued = false;
  const opacity = one("#viewer-opacity"), lines = one("#viewer-lines"), flip = one("#viewer-flip");

  const planes = all("canvas", viewer).map((canvas) => {
    const [across, up, through, low, high] = PLANES[canvas.dataset.plane];
    const [width, height] = [shape[across], shape[up]], buffer = new OffscreenCanvas(width, height);
    canvas.width = 3 * width; canvas.height = 3 * height;
    return { canvas, across, up, through, width, height, low, high, buffer, marks: all("span", canvas.parentNode) };
  });
  one(".planes", viewer).hidden = false;
  one(".planes", viewer).style.gridTemplateColumns = planes.map((plane) => `minmax(0, ${plane.width}fr)`).join(" ");

  const draw = (plane) => {
    const { across, up, through, width, height } = plane, mirrored = flip.checked && across === 0;
    const pixels = new ImageData(width, height), out = pixels.data, value = valueAt[show], palette = palettes[show];
    const alpha = opacity.value / 100, edge = Math.min(1, alpha + 0.35);
    for (let row = 0, at = 0; row < height; row++) {
      const start = here[through] * step[through] + (height - 1 - row) * step[up];
      for (let column = 0; column < width; column++, at += 4) {
        const a = mirrored ? width - 1 - column : column, i = start + a * step[across], label = value(i);
        let part = 0;
        if (label) {
          const border = (a > 0 && value(i - step[across]) !== label) || (a < width - 1 && value(i + step[across]) !== label)
            || (row < height - 1 && value(i - step[up]) !== label) || (row > 0 && value(i + step[up]) !== label);
          part = border ? edge : lines.checked ? 0 : alpha;
          if (chosen && show === "structures") part = label === chosen ? Math.max(part, border ? 0.95 : 0.55) : part * 0.18;
        }
        const shade = gray[i] * (1 - part), color = palette[label];
        out[at] = shade + part * color[0]; out[at + 1] = shade + part * color[1]; out[at + 2] = shade + part * color[2]; out[at + 3] = 255;
      }
    }
    plane.buffer.getContext("2d").putImageData(pixels, 0, 0);
    const context = plane.canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(plane.buffer, 0, 0, plane.canvas.width, plane.canvas.height);
    const x = 3 * ((mirrored ? width - 1 - here[across] : here[across]) + 0.5), y = 3 * (height - 1 - here[up] + 0.5);
    context.strokeStyle = "#7fe0ff"; context.globalAlpha = 0.75; context.lineWidth = 1.5;
    context.beginPath();
    for (const [x1, y1, x2, y2] of [[0, y, x - 12, y], [x + 12, y, 3 * width, y], [x, 0, x, y - 12], [x, y + 12, x, 3 * height]]) { context.moveTo(x1, y1); context.lineTo(x2, y2); }
    context.stroke(); context.globalAlpha = 1;
    plane.marks[0].textContent = mirrored ? plane.high : plane.low;
    plane.marks[1].textContent = mirrored ? plane.low : plane.high;
  };

  const describe = () => {
    const i = here[0] + here[1] * step[1] + here[2] * step[2], label = labels[structures[i]], tissue = tables.tissues[tissues[i] & 7];
    const place = data.affine.map((row) => Math.round(row[0] * here[0] + row[1] * here[1] + row[2] * here[2] + row[3]));
    const swatch = document.createElement("span"), text = document.createElement("span"), small = document.createElement("small");
    swatch.className = "swatch"; swatch.style.background = structures[i] ? label.color : "transparent";
    text.textContent = structures[i] ? label.name : tissues[i] >> 3 ? "In the brain mask, no structure" : "Outside the brain";
    small.textContent = [structures[i] && label.volume ? showVolume(label.volume, "mL") : "", tissue ? tissue.name : "", `x ${place[0]}, y ${place[1]}, z ${place[2]} mm`].filter(Boolean).join(" · ");
    one("#readout").replaceChildren(swatch, text, small);
  };
  const refresh = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; planes.forEach(draw); describe(); });
  };
  const move = (axis, to) => { here[axis] = Math.max(0, Math.min(shape[axis] - 1, Math.round(to))); };

  for (const plane of planes) {
    const { canvas, across, up, through, width, height } = plane;
    const point = (event) => {
      const box = canvas.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * width - 0.5;
      move(across, flip.checked && across === 0 ? width - 1 - x : x);
      move(up, height - 0.5 - (event.clientY - box.top) / box.height * height);
      refresh();
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    canvas.addEventListener("keydown", (event) => {
      const side = flip.checked && across === 0 ? -1 : 1;
      const change = { ArrowLeft: [across, -side], ArrowRight: [across, side], ArrowUp: [up, 1], ArrowDown: [up, -1], PageUp: [through, 1], PageDown: [through, -1] }[event.key];
      if (!change) return;
      event.preventDefault();
      move(change[0], here[change[0]] + change[1]);
      refresh();
    });
  }
  for (const radio of all("input[name=show]", viewer)) radio.addEventListener("change", () => { show = radio.value; refresh(); });
  for (const input of [opacity, lines, flip]) input.addEventListener("input", refresh);
  for (const button of all(".legend button", viewer)) {
    const index = Number(button.dataset.index), place = data.places[index];
    button.disabled = !place;
    button.addEventListener("click", () => {
      const position = labels.findIndex((label) => label.index === index), again = chosen === position;
      chosen = again ? 0 : position;
      for (const other of all(".legend button", viewer)) other.setAttribute("aria-pressed", String(other === button && !again));
      if (!again) { show = "structures"; one("input[name=show][value=structures]", viewer).checked = true; place.forEach((to, axis) => move(axis, to)); }
      refresh();
    });
  }
  refresh();
  viewer.dataset.ready = "yes";
};

/* previous and next report: the list of reports is a script in the logs folder */
const leaf = one("#leaf");
if (leaf) {
  window.brainsegReports = (keys) => {
    const here = keys.indexOf(leaf.dataset.key);
    if (here < 0 || keys.length < 2) return;
    const go = (step) => { location.href = `${keys[(here + step + keys.length) % keys.length]}.html`; };
    one(".hint", leaf).textContent = `${here + 1} of ${keys.length}`;
    for (const button of all("button", leaf)) button.addEventListener("click", () => go(Number(button.dataset.step)));
    document.addEventListener("keydown", (event) => {
      const step = { n: 1, p: -1 }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=radio], [type=checkbox], [type=range]), textarea, select")) return;
      go(step);
    });
    leaf.hidden = false;
    leaf.dataset.ready = "yes";
  };
  const script = document.createElement("script");
  script.src = leaf.dataset.list;
  document.body.append(script);
}

/* the manual rating: stored in this browser, saved as a file */
const rating = one("#rating");
if (rating) {
  const PREFIX = "brainseg-rating ", name = PREFIX + rating.dataset.key, message = one(".hint", rating);
  const stored = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const keep = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; } };
  const read = () => ({
    participant_id: rating.dataset.participant,
    session_id: rating.dataset.session || "n/a",
    rating: rating.elements.rating.value || "n/a",
    artifacts: all("input[name=artifact]:checked", rating).map((box) => box.value),
    comment: rating.elements.comment.value,
    rater: rating.elements.rater.value,
    verdict: rating.dataset.qcRating,
    version: rating.dataset.version,
    time: new Date().toISOString(),
  });
  const before = stored(name);
  rating.elements.rater.value = before?.rater ?? stored("brainseg-rater") ?? "";
  if (before) {
    rating.elements.rating.value = before.rating;
    rating.elements.comment.value = before.comment ?? "";
    for (const box of all("input[name=artifact]", rating)) box.checked = (before.artifacts ?? []).includes(box.value);
  }
  const others = () => { try { return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map(stored).filter(Boolean); } catch { return []; } };
  const offer = () => { one("[data-all]", rating).hidden = others().length < 2; };
  const save = (file, content) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2) + "\n"], { type: "application/json" }));
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 5000);
    message.textContent = `Saved as ${file}`;
  };
  rating.addEventListener("submit", (event) => event.preventDefault());
  rating.addEventListener("input", () => {
    keep("brainseg-rater", rating.elements.rater.value);
    message.textContent = keep(name, read()) ? "Stored in this browser" : "Not stored: this browser has no local storage; save it as a file";
    offer();
  });
  one("[data-save]", rating).addEventListener("click", () => save(`${rating.dataset.key}_rating.json`, read()));
  one("[data-all]", rating).addEventListener("click", () => save("ratings.json", others()));
  offer();
}
