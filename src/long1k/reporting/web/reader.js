// The trace reader: list, filters and view put together; keys; the page's address says what is open.
"use strict";
(() => {
  const { make, packed, reader } = window.long1k;
  const byId = (id) => document.getElementById(id);
  const KEYS = [
    ["j, k", "next, previous (in the list also the arrow keys, Page Up, Page Down, Home, End)"], ["Enter", "open the marked row"],
    ["Esc", "back to the list"], ["/", "search the list"], ["f", "next kind of flip between the two chosen arms"],
    ["c", "set the output beside another one"], ["m", "formulas drawn or as LaTeX"], ["t", "what carries loss in a training sample"],
    ["w", "find words in the text; n: the next place"], ["?", "these keys"],
  ];

  class Reader {
    constructor(study) {
      this.study = study;
      this.options = { maths: true, trained: false, sync: true };
      this.open = { view: "list", parts: [], part: 0 };
      this.section = byId("reader");
      this.panel = byId("reader-view");
      this.filters = new reader.Filters(byId("reader-filters"), study, () => this.filtered());
      this.list = new reader.List(byId("reader-list"), (item) => this.cellsOf(item), (place, open) => open && this.openItem(place));
      this.section.addEventListener("keydown", (event) => this.key(event));
      window.addEventListener("hashchange", () => this.follow(true));
      window.addEventListener("beforeprint", () => this.views?.forEach((view) => view.forPaper()));
      this.section.hidden = false;
      byId("reader-filters-box").open = window.innerWidth >= 760;
      this.follow(location.hash.startsWith("#/"));
    }

    get samples() {
      return this.filter.show === "samples" || !this.study.size;
    }

    /** Show what the address says. */
    async follow(focus) {
      const said = reader.readHash(location.hash);
      const filter = said?.filter ?? (this.filter || {});
      if (!this.filter || JSON.stringify(filter) !== JSON.stringify(this.filter)) {
        this.filters.set(filter);
        this.fillList();
      }
      if (said && said.view !== "list") await this.show(said, focus);
      else {
        this.close();
        if (said && focus) this.section.scrollIntoView({ block: "nearest" });
      }
      document.documentElement.dataset.reader = "ready";
    }

    filtered() {
      this.filters.showFlips();
      this.fillList();
      this.address(true);
    }

    fillList() {
      const { study } = this;
      this.filter = this.filters.get();
      const items = this.samples ? study.sampleList(this.filter) : study.list(this.filter);
      this.section.classList.toggle("of-samples", this.samples);
      this.list.set(items);
      byId("reader-list").setAttribute("aria-label", this.samples ? "Training samples" : "Outputs");
      const all = this.samples ? study.samples.id.length : study.size;
      const by = {};
      if (!this.samples) for (const row of items) by[study.statuses[study.rows.status[row]]] = (by[study.statuses[study.rows.status[row]]] ?? 0) + 1;
      const told = Object.entries(by).map(([name, number]) => `${reader.count(number)} ${name.replace("_", " ")}`).join(", ");
      const what = this.samples ? "training samples" : "answers";
      // With a flip chosen a row stands for a pair: the verdicts are those of one side, and say nothing.
      const shown = this.filter.flip ? `${reader.count(items.length)} pairs of answers.` : `${reader.count(items.length)} of ${reader.count(all)} ${what}${told ? `: ${told}` : ""}.`;
      const off = this.filters.unknown.map(([name, value]) => ` Nothing here has the ${name} “${value.slice(0, 60)}”: that filter is off.`);
      byId("reader-counts").textContent = shown + off.join("");
    }

    cellsOf(item) {
      const { study } = this;
      if (this.samples) {
        const cell = study.samples.cells[study.samples.cell[item]];
        return [["c-who", cell.arm], ["c-question", study.samples.id[item]], ["c-answer", `${reader.count(study.samples.problems[item])} problems`], ["c-tokens n", reader.count(study.samples.tokens[item])]];
      }
      const output = study.rows.output[item];
      const part = study.rows.part[item];
      const prompt = study.promptOf(output);
      const status = study.statuses[study.rows.status[item]];
      const number = prompt.g.length > 1 ? `${prompt.n}.${part + 1}` : `${prompt.n}`;
      return [["c-status", ""], [`badge s-${status}`, status.replace("_", " ")], ["c-who", study.nameOf(output)], ["c-number", `${study.benchmarks[prompt.b]} ${number}`],
        ["c-question", prompt.q], ["c-answer", `${study.rows.extracted[item] ?? "–"} (gold ${prompt.g[part] ?? "–"})`], ["c-tokens n", reader.count(study.outputs.tokens[output])]].slice(1);
    }

    /** Open the row at a place of the list: with a chosen flip the pair, else the output or the sample. */
    openItem(place) {
      const item = this.list.items[place];
      if (this.samples) return this.go("sample", [reader.encodePart(this.study.samples.id[item])]);
      const output = this.study.rows.output[item];
      const part = this.study.rows.part[item];
      if (this.filter.flip) {
        const side = this.study.sideOf(this.filter);
        const pair = this.study.flips(this.filter)[this.filter.flip].find((one) => one[side] === item);
        return this.goPair(pair.map((row) => this.study.rows.output[row]), part);
      }
      return this.goOutput(output, part);
    }

    goOutput(output, part) {
      const id = this.study.outputs.id[output];
      // Where two tables hold an output of the same id, the address needs its number too.
      const names = this.study.byId.get(id) === output ? [id] : [id, String(output)];
      return this.go("output", names.map(reader.encodePart), part);
    }

    goPair(numbers, part) {
      const prompt = this.study.promptOf(numbers[0]);
      const question = `${reader.encodePart(this.study.benchmarks[prompt.b])}:${prompt.n}`;
      return this.go("compare", [question, ...numbers.map((number) => this.study.whoOf(number))], part);
    }

    go(view, parts, part = 0) {
      this.open = { view, parts, part };
      const hash = reader.writeHash(view, parts, this.filter, part);
      if (hash === location.hash) this.follow(true);
      else location.hash = hash;
    }

    address(replace = false) {
      const plain = this.open.view === "list" && !Object.keys(this.filter).length;
      const hash = reader.writeHash(this.open.view, this.open.parts, this.filter, this.open.part);
      if (replace) history.replaceState(null, "", plain ? location.href.split("#")[0] : hash);
      else location.hash = hash;
    }

    close() {
      this.open = { view: "list", parts: [], part: 0 };
      this.views = [];
      this.main = null;
      this.section.classList.remove("opened");
      this.panel.replaceChildren(make("p", { className: "small", textContent: "Choose a row of the list. Press ? in the list for the keys." }));
    }

    /** The numbers of what an address names, as {title, body}; null if this study has no such thing. */
    find({ view, parts, part }) {
      const { study, options } = this;
      if (view === "sample") {
        const number = study.samplesById.get(parts[0]);
        if (number === undefined) return null;
        const cell = study.samples.cells[study.samples.cell[number]];
        return { title: `Training sample of ${cell.arm}, seed ${cell.seed}`, item: number, body: () => reader.sample(study, number, options), sample: true };
      }
      if (view === "output") {
        const given = parts.length > 1 ? Number(parts[1]) : undefined;
        const number = given !== undefined && study.outputs.id[given] === parts[0] ? given : study.byId.get(parts[0]);
        if (number === undefined) return null;
        const place = Math.min(part, study.promptOf(number).g.length - 1) || 0;
        return { title: `${study.nameOf(number)}: ${study.questionOf(number, place)}`, item: study.firstRow[number] + place, numbers: [number], part: place, body: () => reader.output(study, number, place, options) };
      }
      if (view !== "compare" || parts.length !== 3) return null;
      const colon = parts[0].lastIndexOf(":");
      const benchmark = study.benchmarks.indexOf(reader.decodePart(parts[0].slice(0, colon)));
      const prompt = study.prompts.findIndex((one) => one.b === benchmark && String(one.n) === parts[0].slice(colon + 1));
      const numbers = parts.slice(1).map((who) => study.outputOf(prompt, who));
      if (numbers.includes(-1)) return null;
      const place = Math.min(part, study.prompts[prompt].g.length - 1) || 0;
      const choose = (at, number) => this.goPair(numbers.with(at, number), place);
      return { title: `Side by side: ${study.questionOf(numbers[0], place)}`, item: study.firstRow[numbers[0]] + place, numbers, part: place, body: () => reader.pair(study, numbers, place, options, choose) };
    }

    async show(said, focus) {
      const found = this.find(said);
      this.open = { view: said.view, parts: said.view === "compare" ? said.parts : said.parts.map(reader.encodePart), part: said.part };
      const title = make("h3", { tabIndex: -1, id: "reader-title", textContent: found ? found.title : "This study holds nothing of that name" });
      this.section.classList.add("opened");
      if (!found) {
        this.panel.replaceChildren(title, this.bar(null), make("p", { textContent: "The address names an output, a sample or an arm that is not in this page." }));
      } else {
        const turn = (this.turn = (this.turn ?? 0) + 1);
        const body = await found.body();
        if (turn !== this.turn) return; // another one was opened meanwhile
        this.found = found;
        this.views = body.views;
        this.main = body.main;
        this.panel.replaceChildren(title, this.bar(found), body.element);
        const place = this.list.items.indexOf(found.item);
        if (place >= 0 && place !== this.list.active) this.list.activate(place);
      }
      if (focus) {
        title.focus({ preventScroll: true });
        const top = this.panel.getBoundingClientRect().top;
        if (top < 0 || top > window.innerHeight / 2) {
          if (window.innerWidth < 900) this.panel.scrollIntoView();
          else window.scrollBy(0, top - 0.4 * window.innerHeight); // some rows of the list stay in sight above the text
        }
      }
    }

    bar(found) {
      const button = (words, label, action, pressed) => {
        const one = make("button", { type: "button", textContent: words, title: label, onclick: action });
        if (pressed !== undefined) one.setAttribute("aria-pressed", String(pressed));
        return one;
      };
      const bar = make("div", { className: "bar", role: "toolbar", "aria-label": "What is shown" },
        button("← List", "back to the list (Esc)", () => this.back()), button("Previous", "previous in the list (k)", () => this.step(-1)), button("Next", "next in the list (j)", () => this.step(1)));
      if (!found) return bar;
      const toggle = (name, words, label) => button(words, label, (event) => this.toggle(name, event.currentTarget), this.options[name]);
      bar.append(toggle("maths", "Formulas", "formulas drawn, or as LaTeX (m)"));
      if (found.sample) bar.append(toggle("trained", "Loss", "what carries loss, and what does not (t)"));
      if (found.numbers?.length === 1 && this.study.ofPrompt.get(this.study.outputs.prompt[found.numbers[0]]).length > 1) bar.append(button("Compare", "beside another output of the question (c)", () => this.compare()));
      if (found.numbers?.length === 2) bar.append(toggle("sync", "Scroll together", "both texts scroll together"), ...found.numbers.map((number) => button(`Only ${this.study.nameOf(number)}`, "this output alone", () => this.goOutput(number, found.part))));
      this.search = make("input", { type: "search", id: "reader-find", autocomplete: "off", placeholder: "find in text", "aria-label": "Find in text" });
      this.places = make("span", { className: "small", role: "status" });
      this.search.addEventListener("input", () => this.findWords());
      this.search.addEventListener("keydown", (event) => event.key === "Enter" && this.nextPlace(event.shiftKey ? -1 : 1));
      bar.append(this.search, button("↓", "next place (n)", () => this.nextPlace(1)), this.places);
      return bar;
    }

    findWords() {
      this.hits = this.main ? this.main.find(this.search.value) : [];
      this.hit = -1;
      window.CSS?.highlights?.delete("found");
      this.places.textContent = this.search.value ? `${reader.count(this.hits.length)} places` : "";
      if (this.hits.length) this.nextPlace(1);
    }

    nextPlace(step) {
      if (!this.hits?.length) return;
      this.hit = (this.hit + step + this.hits.length) % this.hits.length;
      this.main.show(this.hits[this.hit]);
      this.places.textContent = `${reader.count(this.hit + 1)} of ${reader.count(this.hits.length)} places`;
    }

    toggle(name, button) {
      this.options[name] = !this.options[name];
      if (name !== "sync") this.views.forEach((view) => view.set({ [name]: this.options[name] }));
      (button ?? [...this.panel.querySelectorAll("[aria-pressed]")].find((one) => one.title.includes(name === "maths" ? "(m)" : "(t)")))?.setAttribute("aria-pressed", String(this.options[name]));
    }

    /** Set the open output beside one of the first other arm that has this question. */
    compare() {
      const [number] = this.found.numbers;
      const { study } = this;
      const all = study.ofPrompt.get(study.outputs.prompt[number]).filter((one) => one !== number);
      const cell = study.cellOf(number);
      const wanted = [this.filter.a, this.filter.b].find((arm) => arm && arm !== cell.arm);
      const score = (one) => 4 * (study.cellOf(one).arm === wanted) + 2 * (study.cellOf(one).arm !== cell.arm) + (study.cellOf(one).seed === cell.seed);
      if (all.length) this.goPair([number, all.reduce((best, one) => (score(one) > score(best) ? one : best))], this.found.part);
    }

    step(by) {
      if (!this.list.items.length) return;
      this.list.activate(this.list.active < 0 ? 0 : this.list.active + by);
      this.openItem(this.list.active);
    }

    back() {
      this.open = { view: "list", parts: [], part: 0 };
      this.close();
      this.address();
      byId("reader-list").focus();
      if (window.innerWidth < 900) byId("reader-list").scrollIntoView({ block: "nearest" });
    }

    focusSearch() {
      byId("reader-filters-box").open = true;
      byId("reader-filters").elements.text.focus();
    }

    help() {
      const box = byId("reader-keys");
      if (!box.firstChild) {
        const close = make("button", { type: "button", textContent: "Close", onclick: () => box.close() });
        box.append(make("h3", { id: "reader-keys-title", textContent: "Keys of the trace reader" }), make("dl", { className: "keys" },
          ...KEYS.map(([key, words]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: words })))), close);
      }
      box.showModal();
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.target.closest("dialog")) return;
      if (event.key === "Escape" && this.section.classList.contains("opened")) {
        event.preventDefault();
        return this.back();
      }
      if (event.target.matches("input, select, textarea")) return;
      const does = {
        j: () => this.step(1), k: () => this.step(-1), "/": () => this.focusSearch(),
        f: () => this.filters.nextFlip(), c: () => this.found?.numbers?.length === 1 && this.views?.length && this.compare(),
        m: () => this.views?.length && this.toggle("maths"), t: () => this.views?.length && this.toggle("trained"),
        w: () => this.views?.length && this.search.focus(), n: () => this.nextPlace(1), "?": () => this.help(),
      };
      if (!Object.hasOwn(does, event.key)) return;
      event.preventDefault();
      does[event.key]();
    }
  }

  async function start() {
    const index = await packed("reader-index");
    if (!index) return;
    reader.allow(index.tags, index.attributes);
    reader.setPattern(index.formula);
    reader.shown = new Reader(new reader.Study(index));
  }

  start();
})();
