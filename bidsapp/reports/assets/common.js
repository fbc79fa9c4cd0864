"use strict";
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

const showVolume = (value, unit) => {
  if (unit === "mm³") return `${value.toLocaleString("en", { maximumFractionDigits: 0 })} mm³`;
  const digits = value >= 1e5 ? 0 : value >= 1e4 ? 1 : value >= 100 || value <= 0 ? 2 : value >= 10 ? 3 : 4;
  return `${(value / 1000).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} mL`;
};

for (const choice of all("[data-units]")) {
  choice.addEventListener("change", (event) => {
    for (const cell of all("data.volume")) cell.textContent = showVolume(Number(cell.value), event.target.value);
  });
}

/* the link of the section in view */
const links = new Map(all(".bar nav a[href^='#']").map((link) => [link.hash.slice(1), link]));
if ("IntersectionObserver" in window && links.size) {
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [id, link] of links) link.classList.toggle("here", id === entry.target.id);
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const id of links.keys()) {
    const section = document.getElementById(id);
    if (section) observer.observe(section);
  }
}

for (const button of all("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.innerText);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
}
