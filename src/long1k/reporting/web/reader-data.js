// The reader's index: every output of the study, filtered, sorted, paired; and addresses in the page's hash.
"use strict";
(() => {
  const FILTERS = ["show", "arm", "kind", "seed", "benchmark", "status", "end", "min", "max", "text", "a", "b", "flip", "sort", "down"];

  function summed(steps) {
    let at = 0;
    return steps.map((step) => (at += step));
  }

  const folded = (value) => (value === null || value === undefined ? "" : String(value).toLowerCase());

  class Study {
    constructor(index) {
      Object.assign(this, index);
      for (const name of ["cell", "prompt", "row", "block"]) this.outputs[name] = summed(this.outputs[name]);
      this.rows.output = summed(this.rows.output);
      this.size = this.rows.output.length;
      this.correct = this.statuses.indexOf("correct");
      this.ungraded = this.statuses.indexOf("ungraded");
      this.said = this.prompts.map((prompt) => folded([prompt.q, ...prompt.g].join("\n")));
      this.arms = [...new Set(this.cells.map((cell) => cell.arm))];
      this.armOf = this.cells.map((cell) => this.arms.indexOf(cell.arm));
      this.byId = new Map();
      this.outputs.id.forEach((id, output) => this.byId.has(id) || this.byId.set(id, output));
      this.firstRow = new Int32Array(this.outputs.id.length).fill(-1);
      for (let row = this.size - 1; row >= 0; row--) this.firstRow[this.rows.output[row]] = row;
      this.samplesById = new Map(this.samples.id.map((id, at) => [id, at]));
      this.ofPrompt = new Map();
      this.outputs.prompt.forEach((prompt, output) => {
        if (!this.ofPrompt.has(prompt)) this.ofPrompt.set(prompt, []);
        this.ofPrompt.get(prompt).push(output);
      });
    }

    cellOf(output) {
      return this.cells[this.outputs.cell[output]];
    }

    promptOf(output) {
      return this.prompts[this.outputs.prompt[output]];
    }

    /** The words for an output: its arm, seed and sample. */
    nameOf(output) {
      const cell = this.cellOf(output);
      const seed = cell.seed === null ? "" : `, seed ${cell.seed}`;
      return `${cell.arm}${seed}${this.outputs.sample[output] ? `, sample ${this.outputs.sample[output]}` : ""}`;
    }

    /** The words for a question: benchmark, number, and the problem in it where it holds several. */
    questionOf(output, part = null) {
      const prompt = this.promptOf(output);
      const problem = part !== null && prompt.g.length > 1 ? `, problem ${part + 1} of ${prompt.g.length}` : "";
      return `${this.benchmarks[prompt.b]}, question ${prompt.n}${problem}`;
    }

    /** How an output ended, in one word. */
    endOf(output) {
      const budget = this.budgets[this.outputs.budget[output]];
      return budget && budget !== "natural" ? budget : this.finishes[this.outputs.finish[output]];
    }

    /** Whether an output passes the filters that are not about its graded parts. */
    passes(output, filter) {
      const { outputs } = this;
      const cell = this.cellOf(output);
      if (filter.arm && cell.arm !== filter.arm) return false;
      if (filter.kind && filter.kind !== cell.role && filter.kind !== `rung ${cell.rung}`) return false;
      if (filter.seed && String(cell.seed) !== filter.seed) return false;
      if (filter.benchmark && this.benchmarks[cell.benchmark] !== filter.benchmark) return false;
      if (filter.end && filter.end !== this.endOf(output) && !(filter.end === "repeats itself" && outputs.loop[output])) return false;
      const tokens = outputs.tokens[output];
      if (filter.min && !(tokens !== null && tokens >= Number(filter.min))) return false;
      return !(filter.max && !(tokens !== null && tokens <= Number(filter.max)));
    }

    /** The rows that pass the filters, sorted; with a flip between two arms the rows of one of them. */
    list(filter) {
      const { rows, outputs } = this;
      const words = folded(filter.text).trim();
      const status = filter.status ? this.statuses.indexOf(filter.status) : -1;
      const found = [];
      const among = filter.flip ? this.flips(filter)[filter.flip].map((pair) => pair[this.sideOf(filter)]) : null;
      const rest = filter.flip ? { ...filter, arm: "", kind: "" } : filter;
      let last = -1;
      let passed = false;
      for (let at = 0, end = among ? among.length : this.size; at < end; at++) {
        const row = among ? among[at] : at;
        const output = rows.output[row];
        if (output !== last) [last, passed] = [output, this.passes(output, rest)];
        if (!passed || (status >= 0 && rows.status[row] !== status)) continue;
        if (words && !(this.said[outputs.prompt[output]].includes(words) || folded(outputs.id[output]).includes(words)
          || folded(rows.extracted[row]).includes(words))) continue;
        found.push(row);
      }
      return this.sorted(found, filter);
    }

    sorted(found, filter) {
      const { rows, outputs } = this;
      const values = {
        question: () => 0,
        arm: (row) => this.armOf[outputs.cell[rows.output[row]]],
        status: (row) => rows.status[row],
        tokens: (row) => outputs.tokens[rows.output[row]] ?? -1,
        answer: (row) => rows.extracted[row] ?? "",
      };
      const key = Object.hasOwn(values, filter.sort) ? values[filter.sort] : values.question;
      const keys = new Map(found.map((row) => [row, key(row)]));
      const turn = filter.down ? -1 : 1;
      return found.sort((one, other) => {
        const [first, second] = [keys.get(one), keys.get(other)];
        if (first !== second) return first < second ? -turn : turn;
        const [a, b] = [rows.output[one], rows.output[other]];
        return (outputs.prompt[a] - outputs.prompt[b] || rows.part[one] - rows.part[other] || a - b) * (filter.sort ? 1 : turn);
      });
    }

    seedsOf(arm) {
      return new Set(this.cells.filter((cell) => cell.arm === arm).map((cell) => cell.seed)).size;
    }

    /** Which of two arms stands in the list of flips: the first, unless the other one has more seeds. */
    sideOf({ a, b }) {
      return this.seedsOf(b) > this.seedsOf(a) ? 1 : 0;
    }

    /**
     * Pairs of rows of two arms with the same question, problem, sample and training seed, by what became of them.
     * An arm with a single seed is set against every seed of the other.
     */
    flips({ a, b, benchmark }) {
      const pairs = { "right-right": [], "right-wrong": [], "wrong-right": [], "wrong-wrong": [] };
      const anySeed = a !== b && (this.seedsOf(a) === 1 || this.seedsOf(b) === 1);
      const key = (row) => {
        const output = this.rows.output[row];
        return [this.outputs.prompt[output], this.rows.part[row], this.outputs.sample[output], anySeed ? "" : this.cellOf(output).seed].join(" ");
      };
      const of = { [a]: [], [b]: [] };
      const wanted = benchmark ? this.benchmarks.indexOf(benchmark) : -1;
      for (let row = 0; row < this.size; row++) {
        const cell = this.cellOf(this.rows.output[row]);
        if ((cell.arm === a || cell.arm === b) && (wanted < 0 || cell.benchmark === wanted) && this.rows.status[row] !== this.ungraded) of[cell.arm].push(row);
      }
      const second = new Map();
      for (const row of of[b]) second.set(key(row), [...(second.get(key(row)) ?? []), row]);
      for (const row of of[a]) {
        for (const other of second.get(key(row)) ?? []) {
          const word = (one) => (this.rows.status[one] === this.correct ? "right" : "wrong");
          pairs[`${word(row)}-${word(other)}`].push([row, other]);
        }
      }
      return pairs;
    }

    /** The training samples that pass the filters. */
    sampleList(filter) {
      const words = folded(filter.text).trim();
      const found = [];
      for (let at = 0; at < this.samples.id.length; at++) {
        const cell = this.samples.cells[this.samples.cell[at]];
        const tokens = this.samples.tokens[at];
        if (filter.arm && cell.arm !== filter.arm) continue;
        if ((filter.min && tokens < Number(filter.min)) || (filter.max && tokens > Number(filter.max))) continue;
        if (words && !folded(this.samples.id[at]).includes(words) && !folded(cell.arm).includes(words)) continue;
        found.push(at);
      }
      return found;
    }

    /** The output of a question by an arm, or by "arm~seed~sample"; -1 if there is none. */
    outputOf(prompt, who) {
      const [arm, seed, sample] = who.split("~").map(decodePart);
      const all = this.ofPrompt.get(prompt) ?? [];
      return all.find((output) => this.cellOf(output).arm === arm && (seed === undefined || String(this.cellOf(output).seed) === seed)
        && (sample === undefined || String(this.outputs.sample[output]) === sample)) ?? -1;
    }

    /** How an address names the writer of an output. */
    whoOf(output) {
      return [this.cellOf(output).arm, this.cellOf(output).seed, this.outputs.sample[output]].map(encodePart).join("~");
    }
  }

  const encodePart = (text) => encodeURIComponent(String(text)).replaceAll("~", "%7E").replaceAll("'", "%27");

  function decodePart(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // an address that somebody wrote by hand
    }
  }

  /** What the hash of the page says: a view, its names, and the filters; null if it is not the reader's. */
  function readHash(hash) {
    if (!hash.startsWith("#/")) return null;
    const [path, query = ""] = hash.slice(2).split("?", 2);
    const [view, ...parts] = path.split("/");
    const given = new URLSearchParams(query);
    const filter = {};
    for (const name of FILTERS) if (given.get(name)) filter[name] = given.get(name);
    const part = Math.max(0, Math.trunc(Number(given.get("part"))) || 0);
    return { view, parts: view === "compare" ? parts : parts.map(decodePart), part, filter };
  }

  function writeHash(view, parts, filter, part = 0) {
    const kept = new URLSearchParams();
    for (const name of FILTERS) if (filter[name]) kept.set(name, filter[name]);
    if (part) kept.set("part", String(part));
    const query = kept.toString();
    return `#/${[view, ...parts].join("/")}${query ? `?${query}` : ""}`;
  }

  window.long1k.reader = { Study, readHash, writeHash, encodePart, decodePart };
})();
