// The page around the findings: the contents list, light and dark, what opens for printing, and one voice for all.
"use strict";
(() => {
  const root = document.documentElement;

  /** Say something in the page's live region. */
  function say(text) {
    const region = document.getElementById("said");
    if (region) region.textContent = text;
  }

  /** Whether the page is dark now: as chosen, else as the system is. */
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function theme() {
    const button = document.querySelector("button.theme");
    if (!button) return;
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Show the page ${isDark() ? "light" : "dark"}`);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      show();
      say(`The page is ${root.dataset.theme} now.`);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    show();
  }

  /** The contents list: closed where it would cover the page, with the section in sight marked. */
  function contents() {
    const details = document.querySelector(".contents");
    if (!details) return;
    const narrow = matchMedia("(max-width: 1179px)");
    const fold = () => (details.open = !narrow.matches);
    narrow.addEventListener("change", fold);
    fold();
    const links = new Map();
    for (const link of details.querySelectorAll("a")) {
      links.set(link.hash.slice(1), link);
      link.addEventListener("click", fold);
    }
    details.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && narrow.matches && details.open) {
        details.open = false;
        details.querySelector("summary").focus();
      }
    });
    const seen = new Set();
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) entry.isIntersecting ? seen.add(entry.target) : seen.delete(entry.target);
      const first = [...document.querySelectorAll("main section[aria-labelledby]")].find((one) => seen.has(one));
      for (const [id, link] of links) {
        const here = first && first.getAttribute("aria-labelledby") === id;
        here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
      }
    }, { rootMargin: "-10% 0px -60% 0px" });
    for (const section of document.querySelectorAll("main section[aria-labelledby]")) watcher.observe(section);
  }

  /** On paper everything is open; what was closed is closed again after. */
  function printing() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("main details:not([open])")].filter((one) => !one.closest(".no-print"));
      for (const one of opened) one.open = true;
    });
    addEventListener("afterprint", () => {
      for (const one of opened) one.open = false;
    });
  }

  Object.assign(window.long1k, { say, isDark });
  theme();
  contents();
  printing();
})();
