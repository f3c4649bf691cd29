// What stands beside the list: one output, one training sample, or two outputs of one question side by side.
"use strict";
(() => {
  const { make, packed, side, reader } = window.long1k;
  const blocks = new Map();

  /** The texts of a block, from the page or from the file beside it. */
  function blockOf(study, number) {
    if (!blocks.has(number)) {
      const name = study.files[number];
      const promise = name ? side(name) : packed(`texts-${number}`);
      promise.catch(() => blocks.delete(number));
      blocks.set(number, promise);
      if (blocks.size > 12) blocks.delete(blocks.keys().next().value);
    }
    return blocks.get(number);
  }

  const count = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en"));

  function badge(words) {
    return make("span", { className: `badge s-${words}`, textContent: words.replace("_", " ") });
  }

  function pairs(entries) {
    const list = make("dl", { className: "pairs" });
    for (const [name, value] of entries) {
      if (value === "" || value === null || value === undefined) continue;
      list.append(make("div", {}, make("dt", { textContent: name }), make("dd", {}, ...[value].flat())));
    }
    return list;
  }

  /** Where a text lies in the run's tables, and the command that prints it. */
  function place(table, row, id) {
    const command = `long1k show ${/^[\w./-]+$/.test(table) ? table : `'${table.replaceAll("'", "'\\''")}'`} --row ${row} --full`;
    return make("p", { className: "source" }, make("code", { textContent: id }), " is row ", make("strong", { textContent: count(row) }),
      " (from 0) of ", make("code", { textContent: table }), ": ", make("code", { textContent: command }));
  }

  function absent(study, number, where) {
    const name = study.files[number];
    return make("div", { className: "absent", role: "alert" },
      make("p", {}, "This text lies in ", make("code", { textContent: name ?? `block ${number}` }),
        ", a file that is not beside this page. Put the folder ", make("code", { textContent: "texts" }),
        " that was made with the page next to it, or read the text where it came from:"), where);
  }

  /** A text with formulas, drawn or as its source, in one paragraph of its own. */
  function passage(words, trees, maths, kind) {
    const view = new reader.TextView(kind, [[kind, words]], trees, { maths });
    view.element.className = "passage";
    view.element.removeAttribute("role");
    view.element.removeAttribute("aria-label");
    view.element.removeAttribute("tabindex");
    return view;
  }

  function legend(kinds) {
    const shown = [...kinds].filter((kind) => kind !== "text");
    if (!shown.length) return "";
    return make("p", { className: "legend" }, ...shown.flatMap((kind) => [make("span", { className: `k k-${kind}`, textContent: reader.NAMES[kind] }), " "]));
  }

  /** The body of an output: facts, question, gold answer, text. Resolves to {element, views}. */
  async function output(study, number, part, options) {
    const cell = study.cellOf(number);
    const { outputs } = study;
    const where = place(cell.table, outputs.row[number], outputs.id[number]);
    let block;
    try {
      block = await blockOf(study, outputs.block[number]);
      if (!Array.isArray(block.o?.[number]) || !Array.isArray(block.q?.[outputs.prompt[number]])) throw new Error("another study's file");
    } catch {
      const prompt = study.promptOf(number);
      return { element: make("div", {}, facts(study, number, part, prompt.g, []), make("pre", { className: "k k-question", textContent: prompt.q }), absent(study, outputs.block[number], where)), views: [] };
    }
    block.m ??= {};
    block.x ??= {};
    const [question, golds] = block.q[outputs.prompt[number]];
    const text = new reader.TextView(`Output of ${study.nameOf(number)}`, block.o[number], block.m, options);
    const asked = passage(question, block.m, options.maths, "question");
    const questionBox = make("details", { className: "question", open: question.length < 3000 }, make("summary", { textContent: "Question" }), asked.element);
    const element = make("div", {}, facts(study, number, part, golds, block.x[number] ?? [], (words) => passage(words, block.m, options.maths, "other").element),
      questionBox, legend(text.kinds), text.element, where);
    return { element, views: [text, asked], main: text };
  }

  function facts(study, number, part, golds, notes, drawn = (words) => words) {
    const { outputs } = study;
    const row = study.firstRow[number] + part;
    const status = study.statuses[study.rows.status[row]];
    const [note, extracted] = notes[part] ?? ["", study.rows.extracted[row] ?? ""];
    const label = outputs.label[number];
    return make("div", { className: "facts-of" }, pairs([
      ["verdict", badge(status)], ["gold", drawn(golds[part] ?? "–")], ["read out", extracted ? drawn(extracted) : "–"],
      ["note", note], ["tokens", count(outputs.tokens[number])], ["ended by", study.finishes[outputs.finish[number]]],
      ["budget", study.budgets[outputs.budget[number]]], ["label", label === null ? "" : label ? "correct" : "wrong"],
      ["repeats itself", outputs.loop[number] ? "yes" : ""],
    ]));
  }

  /** The body of a training sample. */
  async function sample(study, number, options) {
    const { samples } = study;
    const cell = samples.cells[samples.cell[number]];
    const where = place(cell.table, samples.row[number], samples.id[number]);
    let block;
    try {
      block = await blockOf(study, samples.block[number]);
      if (!Array.isArray(block.s?.[number]?.p)) throw new Error("another study's file");
    } catch {
      return { element: make("div", {}, absent(study, samples.block[number], where)), views: [] };
    }
    const held = block.s[number];
    const text = new reader.TextView(`Training sample of ${cell.arm}`, held.p, block.m, options);
    const element = make("div", {}, pairs([
      ["tokens", count(samples.tokens[number])], ["target", samples.target[number] === null ? "" : count(samples.target[number])],
      ["carry loss", `${count(samples.supervised[number])} tokens`], ["problems", count(samples.problems[number])],
      ["answers", held.a.join(" | ")], ["from", held.s.join(", ")],
    ]), legend(text.kinds),
    make("p", { className: "small", textContent: cell.rendered ? "The text as the chat template renders it for training."
      : "The messages of the sample; the chat template it is trained with was not at hand." }), text.element, where);
    return { element, views: [text], main: text };
  }

  /** Two outputs of one question in two columns; their texts scroll together if that is wanted. */
  async function pair(study, numbers, part, options, choose) {
    const bodies = await Promise.all(numbers.map((number) => output(study, number, part, options)));
    const all = study.ofPrompt.get(study.outputs.prompt[numbers[0]]);
    const columns = bodies.map((body, at) => {
      const select = make("select", { "aria-label": at ? "Second output" : "First output" }, ...all.map((number) => {
        const status = study.statuses[study.rows.status[study.firstRow[number] + part]];
        return make("option", { value: String(number), textContent: `${study.nameOf(number)}: ${status.replace("_", " ")}`, selected: number === numbers[at] });
      }));
      select.addEventListener("change", () => choose(at, Number(select.value)));
      return make("div", { className: "column" }, select, body.element);
    });
    const mains = bodies.map((body) => body.main).filter(Boolean);
    if (mains.length === 2) together(mains, options);
    return { element: make("div", { className: "columns" }, ...columns), views: bodies.flatMap((body) => body.views), main: mains[0] };
  }

  function together(views, options) {
    let led = null; // the one that scrolls because the other did must not answer
    views.forEach((view, at) => view.element.addEventListener("scroll", () => {
      if (!options.sync) return;
      if (led === view) {
        led = null;
        return;
      }
      const other = views[1 - at].element;
      const room = view.element.scrollHeight - view.element.clientHeight;
      const top = Math.round((view.element.scrollTop / Math.max(1, room)) * (other.scrollHeight - other.clientHeight));
      if (Math.abs(other.scrollTop - top) < 1) return;
      led = views[1 - at];
      other.scrollTop = top;
    }, { passive: true }));
  }

  Object.assign(reader, { output, sample, pair, count });
})();
