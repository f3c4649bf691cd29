// A long text on the page: cut into chunks that the browser lays out only when they come into sight.
"use strict";
(() => {
  const { make, reader } = window.long1k;
  const KINDS = new Set(["question", "reference", "label", "linker", "thinking", "solution", "extracted", "loop", "text", "other"]);
  const CHUNK = 1500; // characters after which the next line begins a new chunk
  const LONGEST = 4000; // a line longer than this is cut
  const AT_ONCE = 600; // chunks that are filled at once; of a longer text those near the screen
  const NAMES = {
    question: "question", reference: "reference to an earlier answer", label: "label", linker: "linking words", thinking: "thinking",
    solution: "solution", extracted: "the answer that was graded", loop: "repeats itself", text: "answer", other: "template and tags",
  };
  let pattern = /(?!)/gu;

  const setPattern = (source) => (pattern = new RegExp(source, "gu"));

  /** Pieces as segments {kind, part, trained, text, tree}: a formula that is drawn is one of its own. */
  function segments(pieces, trees) {
    const whole = pieces.map((piece) => piece[1]).join("");
    const drawn = [];
    for (const found of whole.matchAll(pattern)) {
      if (Object.hasOwn(trees, found[0])) drawn.push([found.index, found.index + found[0].length, found[0]]);
    }
    const out = [];
    let start = 0;
    let next = 0;
    for (const [kind, text, part = 0, trained = 1] of pieces) {
      const end = start + text.length;
      const about = { kind: KINDS.has(kind) ? kind : "other", part, trained };
      let at = start;
      while (next < drawn.length && drawn[next][0] < end) {
        const [first, last, source] = drawn[next];
        if (first >= start) {
          if (first > at) out.push({ ...about, text: text.slice(at - start, first - start) });
          out.push({ ...about, text: source, tree: trees[source] });
        } else if (kind === "extracted") {
          Object.assign(out[out.length - 1], about); // the answer stands inside a formula
        }
        at = Math.max(at, Math.min(last, end));
        if (last > end) break; // it goes on in the next piece
        next++;
      }
      if (at < end) out.push({ ...about, text: text.slice(at - start) });
      start = end;
    }
    return { whole, parts: out };
  }

  /** Segments in chunks that end with a line, or within one that is very long: [{start, segments}]. */
  function chunks(parts) {
    const out = [{ start: 0, segments: [] }];
    let size = 0;
    let at = 0;
    const close = () => {
      out.push({ start: at, segments: [] });
      size = 0;
    };
    for (const part of parts) {
      let rest = part.text;
      while (rest) {
        let cut = rest.length;
        if (part.tree === undefined) {
          const line = rest.indexOf("\n", Math.max(0, CHUNK - size));
          if (line >= 0) cut = line + 1;
          if (cut + size > LONGEST) cut = Math.max(1, LONGEST - size);
          const code = rest.charCodeAt(cut - 1);
          if (cut < rest.length && code >= 0xd800 && code < 0xdc00) cut++; // both halves of a pair stay together
        }
        out[out.length - 1].segments.push({ ...part, text: rest.slice(0, cut), start: at });
        at += cut;
        size += cut;
        const ended = size >= CHUNK && rest[cut - 1] === "\n";
        rest = rest.slice(cut);
        if (ended || size >= LONGEST) close();
      }
    }
    if (!out[out.length - 1].segments.length) out.pop();
    return out;
  }

  class TextView {
    /** A scrolling text; options: maths (formulas drawn) and trained (what carries loss marked). */
    constructor(label, pieces, trees, options) {
      const { whole, parts } = segments(pieces, trees);
      this.whole = whole;
      this.options = { ...options };
      this.chunks = chunks(parts);
      this.nodes = new Map(); // element of a segment -> where its text begins
      this.kinds = new Set(parts.map((part) => part.kind));
      this.element = make("div", { className: this.chunks.length > 12 ? "trace long" : "trace", tabIndex: 0, role: "region", "aria-label": label });
      this.places = this.chunks.map((chunk) => {
        const place = make("div", { className: "chunk" });
        const length = chunk.segments.reduce((sum, one) => sum + one.text.length + 60 * (one.text.split("\n").length - 1), 0);
        place.style.containIntrinsicBlockSize = `auto ${Math.ceil(length / 80) * 1.5}em`;
        return place;
      });
      this.element.append(...this.places);
      this.fill();
    }

    fill() {
      this.watcher?.disconnect();
      this.filled = new Set();
      this.nodes.clear();
      for (const place of this.places) place.replaceChildren();
      if (this.places.length <= AT_ONCE) {
        this.places.forEach((_, at) => this.draw(at));
        return;
      }
      const numbers = new Map(this.places.map((place, at) => [place, at]));
      this.watcher = new IntersectionObserver(
        (seen) => seen.forEach((one) => one.isIntersecting && this.draw(numbers.get(one.target))),
        { root: this.element, rootMargin: "1500px" },
      );
      this.places.forEach((place) => this.watcher.observe(place));
    }

    draw(at) {
      if (this.filled.has(at)) return;
      this.filled.add(at);
      const { maths, trained } = this.options;
      this.places[at].append(
        ...this.chunks[at].segments.map((one) => {
          const loss = trained ? (one.trained ? " carries" : " bare") : "";
          const element = make("span", { className: `k k-${one.kind}${loss}` });
          if (one.part) element.title = `${NAMES[one.kind]}, problem ${one.part}`;
          element.append(maths && one.tree !== undefined ? reader.formula(one.tree, one.text) : one.text);
          this.nodes.set(element, one.start);
          return element;
        }),
      );
    }

    set(options) {
      const share = this.element.scrollTop / Math.max(1, this.element.scrollHeight);
      Object.assign(this.options, options);
      this.fill();
      this.element.scrollTop = share * this.element.scrollHeight;
    }

    /** Draw so much of the text as goes on paper. */
    forPaper() {
      for (let at = 0; at < Math.min(this.places.length, AT_ONCE); at++) this.draw(at);
    }

    /** Where words stand in the text: [start, end] of each. */
    find(words) {
      if (!words) return [];
      const escaped = words.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
      return Array.from(this.whole.matchAll(new RegExp(escaped, "giu")), (found) => [found.index, found.index + found[0].length]);
    }

    /** Bring a stretch of the text into sight and mark it. */
    show([start, end]) {
      let at = this.chunks.findLastIndex((chunk) => chunk.start <= start);
      at = Math.max(0, at);
      this.draw(at);
      this.places[at].scrollIntoView({ block: "nearest" });
      const element = [...this.places[at].children].findLast((one) => this.nodes.get(one) <= start);
      if (!element) return;
      const from = this.nodes.get(element);
      const text = element.firstChild;
      const range = new Range();
      if (text.nodeType === Node.TEXT_NODE) {
        range.setStart(text, start - from);
        range.setEnd(text, Math.min(text.length, end - from));
      } else {
        range.selectNode(text); // within a formula that is drawn
      }
      window.CSS?.highlights?.set("found", new Highlight(range));
      const place = range.getBoundingClientRect();
      const frame = this.element.getBoundingClientRect();
      this.element.scrollTop += place.top - frame.top - frame.height / 3;
    }
  }

  Object.assign(reader, { TextView, setPattern, NAMES });
})();
