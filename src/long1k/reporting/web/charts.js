// Charts that answer: each still picture gives way to its chart once it comes into sight; if that fails, it stays.
"use strict";
(() => {
  const { make, packed } = window.long1k;
  const NARROW = 600;
  const STRETCH = { whole: 1100, half: 440 };
  const shown = new Map();
  let specs = null;

  /** The width that a chart may take inside its frame. */
  function room(frame) {
    return Math.floor(Math.min(frame.clientWidth, frame.closest(".half") ? STRETCH.half : STRETCH.whole));
  }

  /** No mark of a chart speaks for itself: its frame says what it shows, and the table beside it holds the figures. */
  function silence(view) {
    if (view.mark) view.mark = { ...(typeof view.mark === "string" ? { type: view.mark } : view.mark), aria: false };
    for (const one of [...(view.layer ?? []), ...(view.hconcat ?? []), ...(view.vconcat ?? [])]) silence(one);
  }

  /** A chart's specification for a width: drawn for one near it, its views made wider by what is left. */
  function fitted(figure, width, half) {
    const narrow = half || width < NARROW;
    const spec = structuredClone(narrow ? figure.narrow : figure.wide);
    const extra = width - (narrow ? 340 : 620) - 2;
    const widen = (view, by) => {
      if (typeof view.width === "number") view.width = Math.max(120, Math.round(view.width + by));
    };
    if (spec.hconcat) {
      const whole = spec.hconcat.reduce((sum, view) => sum + view.width, 0);
      // The panel of single arms needs no more than its names do: the first takes the room, equal ones share it.
      const equal = spec.hconcat.every((view) => view.width === spec.hconcat[0].width);
      spec.hconcat.forEach((view, at) => widen(view, equal ? (extra * view.width) / whole : at === 0 ? extra : 0));
    } else if (spec.vconcat) spec.vconcat.forEach((view) => widen(view, extra));
    else widen(spec, extra);
    silence(spec);
    return spec;
  }

  /** Draw one figure in its frame; the still picture is put away when that is done. */
  async function draw(frame) {
    const name = frame.dataset.figure;
    const width = room(frame);
    const known = shown.get(frame) || { values: {} };
    if (known.width === width) return;
    shown.set(frame, { ...known, width });
    try {
      specs ??= packed("figures-data");
      const figure = (await specs)[name];
      const place = make("div", { className: "live", role: "img", "aria-label": figure.words });
      const half = frame.closest(".half") !== null;
      // Put in place before it is drawn, unseen: a chart measures the texts that it holds.
      const result = await window.long1kEmbed(place, fitted(figure, width, half), {
        ast: true, renderer: "svg", actions: false, defaultStyle: false,
        tooltip: { disableDefaultStyle: true },
      });
      const now = shown.get(frame);
      if (now.width !== width) return result.finalize();
      for (const [parameter, value] of Object.entries(now.values)) result.view.signal(parameter, value);
      await result.view.runAsync();
      frame.querySelector(".live")?.remove();
      now.result?.finalize();
      frame.append(place);
      shown.set(frame, { ...now, result });
      if (!now.result) choices(frame, figure);
      frame.dataset.state = "live";
    } catch (error) {
      frame.querySelector(".live")?.remove();
      frame.dataset.state = "still";
      if (!frame.querySelector(".failed")) {
        const why = error instanceof Error ? error.message : String(error);
        frame.append(make("p", { className: "failed small" }, `This picture stands still: its chart could not be drawn (${why}).`));
      }
    }
  }

  function choose(frame, parameter, value) {
    const one = shown.get(frame);
    one.values[parameter] = value;
    one.result.view.signal(parameter, value).runAsync();
  }

  /** What a reader can choose of a chart: one of several, or which series are shown. */
  function choices(frame, figure) {
    for (const choice of figure.choices) {
      const name = `${frame.dataset.figure}-${choice.parameter}`;
      const hidden = new Set();
      const box = make("fieldset", { className: "choices no-print" }, make("legend", {}, choice.label));
      choice.options.forEach((option, at) => {
        const input = make("input", { type: choice.many ? "checkbox" : "radio", name, value: option });
        input.checked = choice.many || at === 0;
        input.addEventListener("change", () => {
          if (!choice.many) return choose(frame, choice.parameter, option);
          input.checked ? hidden.delete(option) : hidden.add(option);
          choose(frame, choice.parameter, [...hidden]);
        });
        box.append(make("label", {}, input, option));
      });
      frame.before(box);
    }
  }

  function start() {
    const frames = [...document.querySelectorAll(".chart[data-figure]")];
    if (!frames.length || !window.long1kEmbed) return;
    const inSight = new Set();
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        entry.isIntersecting ? inSight.add(entry.target) : inSight.delete(entry.target);
        if (entry.isIntersecting) draw(entry.target);
      }
    }, { rootMargin: "300px 0px" });
    for (const frame of frames) watcher.observe(frame);
    let later = 0;
    addEventListener("resize", () => {
      clearTimeout(later);
      later = setTimeout(() => inSight.forEach(draw), 150);
    });
  }

  window.long1k.charts = { shown, draw };
  start();
})();
