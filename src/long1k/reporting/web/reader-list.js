// A list of any length: only the rows in sight are elements; a listbox for the keyboard and for screen readers.
"use strict";
(() => {
  const { make, reader } = window.long1k;
  const SPARE = 8; // rows drawn beyond the edges

  class List {
    /** describe(item) gives the cells of a row as [class, words]; choose(place, open) is told of every choice. */
    constructor(box, describe, choose) {
      Object.assign(this, { box, describe, choose, items: [], active: -1, drawn: new Map(), height: 0 });
      this.sizer = make("div", { className: "sizer", role: "presentation" });
      box.append(this.sizer);
      box.addEventListener("scroll", () => this.later(), { passive: true });
      box.addEventListener("keydown", (event) => this.key(event));
      box.addEventListener("click", (event) => {
        const row = event.target.closest("[role=option]");
        if (row) this.activate(Number(row.dataset.place), true);
      });
      new ResizeObserver(() => this.measure()).observe(box);
    }

    set(items) {
      this.items = items;
      this.active = -1;
      this.clear();
      this.box.removeAttribute("aria-activedescendant");
      this.box.scrollTop = 0;
      this.measure();
    }

    clear() {
      for (const row of this.drawn.values()) row.remove();
      this.drawn.clear();
    }

    measure() {
      const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 34;
      if (height !== this.height) this.clear();
      this.height = height;
      this.sizer.style.height = `${this.items.length * height}px`;
      this.draw();
    }

    later() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.draw();
      });
    }

    draw() {
      const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - SPARE);
      const last = Math.min(this.items.length - 1, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + SPARE);
      const wanted = new Set();
      for (let at = first; at <= last; at++) wanted.add(at);
      if (this.active >= 0 && this.active < this.items.length) wanted.add(this.active);
      for (const [at, row] of this.drawn) {
        if (wanted.has(at)) continue;
        row.remove();
        this.drawn.delete(at);
      }
      const missing = [...wanted].filter((at) => !this.drawn.has(at));
      this.sizer.append(...missing.map((at) => this.row(at)));
    }

    row(at) {
      const cells = this.describe(this.items[at]);
      const row = make("div", {
        className: "row", role: "option", id: `reader-row-${at}`, "aria-setsize": this.items.length, "aria-posinset": at + 1,
        "aria-selected": String(at === this.active),
      });
      row.dataset.place = at;
      row.style.transform = `translateY(${at * this.height}px)`;
      row.append(...cells.map(([name, words]) => make("span", { className: name, textContent: words })));
      this.drawn.set(at, row);
      return row;
    }

    /** Mark a row, bring it into sight, and open it if that is wanted. */
    activate(at, open = false) {
      if (!this.items.length) return;
      const place = Math.min(Math.max(0, at), this.items.length - 1);
      this.drawn.get(this.active)?.setAttribute("aria-selected", "false");
      this.active = place;
      const top = place * this.height;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + this.height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + this.height - this.box.clientHeight;
      this.draw();
      this.drawn.get(place).setAttribute("aria-selected", "true");
      this.box.setAttribute("aria-activedescendant", `reader-row-${place}`);
      this.choose(place, open);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
      const steps = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -this.items.length, End: this.items.length };
      if (Object.hasOwn(steps, event.key)) this.activate(this.active < 0 && steps[event.key] > 0 && event.key !== "End" ? 0 : this.active + steps[event.key]);
      else if (event.key === "Enter" || event.key === " ") this.activate(Math.max(0, this.active), true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }
  }

  Object.assign(reader, { List });
})();
