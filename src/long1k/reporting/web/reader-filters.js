// The filters over the list: made from the index, read into a plain object, written into the page's address.
"use strict";
(() => {
  const { make, reader } = window.long1k;

  const unique = (values) => [...new Set(values)].filter((value) => value !== null && value !== undefined && value !== "");

  function select(name, label, options, any = "all") {
    const choices = options.map((option) => (Array.isArray(option) ? option : [option, String(option)]));
    return make("label", {}, label, make("select", { name }, make("option", { value: "", textContent: any }),
      ...choices.map(([value, words]) => make("option", { value: String(value), textContent: words }))));
  }

  function field(name, label, properties) {
    return make("label", {}, label, make("input", { name, autocomplete: "off", ...properties }));
  }

  const FLIPS = { "right-wrong": "right → wrong", "wrong-right": "wrong → right", "right-right": "right in both", "wrong-wrong": "wrong in both" };

  class Filters {
    constructor(form, study, changed) {
      Object.assign(this, { form, study, changed });
      const seeds = unique(study.cells.map((cell) => cell.seed)).sort((a, b) => a - b);
      const rungs = unique(study.cells.map((cell) => cell.rung)).sort((a, b) => a - b);
      const roles = unique(study.cells.map((cell) => cell.role));
      const ends = unique(study.outputs.id.map((_, output) => study.endOf(output))).sort();
      if (study.outputs.loop.some(Boolean)) ends.push("repeats itself");
      const arms = unique([...study.arms, ...study.samples.cells.map((cell) => cell.arm)]);
      const kinds = [...roles.map((role) => [role, `${role}s`]), ...rungs.map((tokens) => [`rung ${tokens}`, `rung of ${tokens.toLocaleString("en")} tokens`])];
      const statuses = study.statuses.filter((_, at) => study.rows.status.includes(at)).map((status) => [status, status.replace("_", " ")]);
      const main = make("div", { className: "filters" },
        ...(study.samples.id.length && study.size ? [select("show", "show", [["samples", "training samples"]], "outputs")] : []),
        select("benchmark", "benchmark", study.benchmarks), select("arm", "arm", arms),
        ...(kinds.length ? [select("kind", "rung or role", kinds)] : []), select("seed", "training seed", seeds),
        select("status", "verdict", statuses), select("end", "ended by", ends),
        field("min", "tokens from", { type: "number", min: 0, step: 1 }), field("max", "to", { type: "number", min: 0, step: 1 }),
        select("sort", "sort by", [["arm", "arm"], ["status", "verdict"], ["tokens", "tokens"], ["answer", "answer"]], "question"),
        make("label", { className: "tick" }, make("input", { type: "checkbox", name: "down" }), "descending"),
        field("text", "search in ids, questions, answers", { type: "search" }), make("button", { type: "reset", textContent: "Clear filters" }));
      const flips = make("fieldset", { className: "flips" }, make("legend", { textContent: "Flips between two arms" }),
        select("a", "first arm", study.arms, "–"), select("b", "second arm", study.arms, "–"), make("div", { className: "flip-buttons", role: "group", "aria-label": "What became of a question" }));
      this.flipButtons = flips.lastChild;
      form.append(main, ...(study.arms.length > 1 ? [flips] : []));
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", () => this.soon());
      form.addEventListener("reset", () => setTimeout(() => this.set({}) ?? this.changed()));
      this.flip = "";
      this.unknown = []; // what a link named and this study does not have, as [filter, value]
    }

    soon() {
      this.unknown = [];
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.changed(), 60);
    }

    /** The filters that are set. */
    get() {
      const set = {};
      for (const element of this.form.elements) {
        const value = element.type === "checkbox" ? (element.checked ? "1" : "") : element.value;
        if (element.name && value) set[element.name] = value;
      }
      if (!(set.a && set.b && set.a !== set.b)) this.flip = "";
      if (this.flip) set.flip = this.flip;
      return set;
    }

    set(filter) {
      this.unknown = [];
      for (const element of this.form.elements) {
        if (!element.name) continue;
        if (element.type === "checkbox") element.checked = Boolean(filter[element.name]);
        else if (element.type === "number" && !Number.isFinite(Number(filter[element.name]))) element.value = "";
        else element.value = filter[element.name] ?? "";
        // A link may name what this study does not have: then the filter is off, and the count says so.
        if (element.tagName === "SELECT" && element.selectedIndex < 0) {
          this.unknown.push([element.name, filter[element.name]]);
          element.value = "";
        }
      }
      this.flip = Object.hasOwn(FLIPS, filter.flip ?? "") ? filter.flip : "";
      this.showFlips();
    }

    /** How often each flip happened, as buttons that filter the list. */
    showFlips() {
      const filter = this.get();
      this.flipButtons.replaceChildren();
      if (!(filter.a && filter.b && filter.a !== filter.b)) return;
      const flips = this.study.flips(filter);
      for (const [name, words] of Object.entries(FLIPS)) {
        const button = make("button", { type: "button", textContent: `${words}: ${reader.count(flips[name].length)}`, "aria-pressed": String(this.flip === name) });
        button.dataset.flip = name;
        button.addEventListener("click", () => {
          this.choose(this.flip === name ? "" : name);
          this.flipButtons.querySelector(`[data-flip=${name}]`)?.focus();
        });
        this.flipButtons.append(button);
      }
    }

    choose(flip) {
      this.flip = flip;
      this.showFlips();
      this.changed();
    }

    /** The next kind of flip; none if no two arms are chosen. */
    nextFlip() {
      const filter = this.get();
      if (!(filter.a && filter.b && filter.a !== filter.b)) return false;
      const order = ["", "right-wrong", "wrong-right"];
      this.choose(order[(order.indexOf(this.flip) + 1) % order.length]);
      return true;
    }
  }

  Object.assign(reader, { Filters });
})();
