/* The explorable of the chapter "gaussian": sliders, the two pictures and the numbers.
 * What is computed lives in gaussian-engine.js; markup and words that do not change in gaussian.html.
 */
(function (shared) {
  "use strict";
  const STARTS = {
    reset: { bias: 1, misspecification: -1, temperature: 0.1, samples: 10 },
    aligned: { bias: 1, misspecification: 0, temperature: 0, samples: 10 },
    overshooting: { bias: 1, misspecification: -1, temperature: 0, samples: 100 },
    repelling: { bias: 1, misspecification: 3, temperature: 1, samples: 10 },
    softened: { bias: 1, misspecification: -1, temperature: 2, samples: 100 },
  };
  const ROWS = [1, 2, 10, 100, 1000, 10000, 100000];
  const K_SHOWN = 1e5; // right end of the curve
  const Y_SHOWN = 6.6; // half width of the picture, in units of s from the teacher
  const SAMPLES = []; // what the k slider stops at
  for (let i = 0; i <= 50; i++) {
    const k = Math.round(Number(Math.pow(10, i / 10).toPrecision(2)));
    SAMPLES.push(Math.max(k, i && SAMPLES[i - 1] + 1));
  }

  const byId = (name) => document.getElementById("xg-" + name);

  /** T/s^2 at a stop of its slider: 0, then 0.001 to 1000 in steps of a twentieth of a decade, then infinity. */
  function temperatureAt(stop) {
    if (stop === 0) return 0;
    if (stop === 122) return Infinity;
    return Number(Math.pow(10, -3 + (stop - 1) / 20).toPrecision(3));
  }

  function stopOf(temperature) {
    if (temperature === 0) return 0;
    if (temperature === Infinity) return 122;
    return Math.round(20 * (Math.log10(temperature) + 3)) + 1;
  }

  function signed(value) {
    return (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
  }

  function plainT(temperature) {
    return temperature === Infinity ? "∞" : String(temperature);
  }

  const state = {};
  let result = null;

  function read() {
    state.bias = Number(byId("bias").value);
    state.misspecification = Number(byId("misspecification").value);
    state.temperature = temperatureAt(Number(byId("temperature").value));
    state.samples = SAMPLES[Number(byId("samples").value)];
    state.log = byId("log").checked;
  }

  function write(start) {
    byId("bias").value = start.bias;
    byId("misspecification").value = start.misspecification;
    byId("temperature").value = stopOf(start.temperature);
    setSamples(start.samples);
  }

  /** Move the k slider to the stop nearest to `k`. */
  function setSamples(k) {
    let stop = 0;
    SAMPLES.forEach(function (other, i) {
      if (Math.abs(Math.log(other / k)) < Math.abs(Math.log(SAMPLES[stop] / k))) stop = i;
    });
    byId("samples").value = stop;
  }

  function sentence() {
    const best = shared.integer(result.best);
    if (result.regime === "none")
      return ["No selection.", "At T = ∞ the judge is not asked: every answer is as likely as any other, whatever k is."];
    if (result.regime === "monotone")
      return ["More samples help.", "Every further sample lowers the loss, from " + shared.format(result.single) +
        " towards " + shared.format(result.unlimited) + "."];
    if (result.regime === "harmful")
      return ["Selection harms.", "One sample is best. Asking this judge raises the loss, from " + shared.format(result.single) +
        " towards " + shared.format(result.unlimited) + "."];
    if (result.bestIsBeyond)
      return ["There is a best k.", "It lies beyond a million samples; after that the loss rises again, to " +
        shared.format(result.unlimited) + "."];
    return ["There is a best k.", "The loss falls to " + shared.format(result.loss(result.best)) + " at\u00a0k\u00a0=\u00a0" + best +
      "; more samples than that make the selected answer worse, up to " + shared.format(result.unlimited) + "."];
  }

  /** The bump, the two marks and where the selected answer lies. */
  function drawPicture() {
    const svg = byId("picture");
    const width = svg.clientWidth;
    const height = svg.clientHeight;
    const ground = height - 44;
    const x = (y) => ((y + Y_SHOWN) / (2 * Y_SHOWN)) * width;
    svg.textContent = "";
    svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    const high = ground - 54; // height of both curves

    const every = width < 480 ? 2 : 1;
    shared.draw(svg, "line", { x1: 0, x2: width, y1: ground, y2: ground, stroke: "var(--xp-line)" });
    for (let y = -6; y <= 6; y += every) {
      shared.draw(svg, "line", { x1: x(y), x2: x(y), y1: ground, y2: ground + 4, stroke: "var(--xp-muted)" });
      const words = y === 0 ? "*μ*T" : (y < 0 ? "−" : "+") + (Math.abs(y) === 1 ? "" : Math.abs(y)) + "*s*";
      const text = shared.drawText(svg, { x: x(y), y: ground + 21, "text-anchor": "middle", class: "muted" }, words);
      if (y === 0) {
        text.lastChild.setAttribute("dy", "3");
        text.lastChild.setAttribute("font-size", "9");
      }
    }
    shared.drawText(svg, { x: width, y: ground + 40, "text-anchor": "end", class: "muted" }, "answer *y*");

    const bump = [];
    for (let i = 0; i <= 160; i++) {
      const z = -4 + i / 20;
      bump.push([x(state.bias + z), ground - high * Math.exp(-0.5 * z * z)]);
    }
    const model = shared.draw(svg, "g", { class: "xp-drag", "data-drag": "bias" });
    shared.draw(model, "path", { d: shared.path(bump) + "Z", fill: "var(--xp-bump)", stroke: "var(--xp-muted)", "stroke-width": 1 });

    // the selected answer: a grid refined around the reward target and the bump, scaled to the same height
    const grid = [];
    for (let i = 0; i <= 180; i++) grid.push(-Y_SHOWN + (2 * Y_SHOWN * i) / 180);
    for (let i = 0; i <= 44; i++) {
      const step = Math.pow(10, -5 + i / 8);
      grid.push(state.misspecification - step, state.misspecification + step);
    }
    grid.push(state.misspecification);
    grid.sort((p, q) => p - q);
    const values = grid.map((y) => result.selectedDensity(y - state.bias, state.samples));
    let most = 0;
    let mean = 0;
    let mass = 0;
    for (let i = 0; i < grid.length; i++) {
      most = Math.max(most, values[i]);
      const share = values[i] * ((grid[i + 1] === undefined ? grid[i] : grid[i + 1]) - (i ? grid[i - 1] : grid[i]));
      mass += share;
      mean += share * grid[i];
    }
    mean /= mass;
    shared.draw(svg, "path", {
      d: shared.path(grid.map((y, i) => [x(y), ground - high * (values[i] / most)])),
      fill: "none", stroke: "var(--xp-exact)", "stroke-width": 2.5, "stroke-linejoin": "round", "pointer-events": "none",
    });

    const atTeacher = x(0);
    const atTarget = x(state.misspecification);
    const close = Math.abs(atTeacher - atTarget);
    shared.draw(svg, "line", { x1: atTeacher, x2: atTeacher, y1: 22, y2: ground, stroke: "var(--xp-text)", "stroke-width": 1.5, "pointer-events": "none" });
    shared.draw(svg, "path", { d: shared.path([[atTeacher - 7, ground + 1], [atTeacher, ground - 12], [atTeacher + 7, ground + 1]]) + "Z", fill: "var(--xp-text)", "pointer-events": "none" });
    const target = shared.draw(svg, "g", { class: "xp-drag", "data-drag": "misspecification" });
    shared.draw(target, "rect", { x: atTarget - 16, y: 30, width: 32, height: ground - 30, fill: "transparent" });
    shared.draw(target, "line", { x1: atTarget, x2: atTarget, y1: 40, y2: ground, stroke: "var(--xp-text)", "stroke-width": 1.5, "stroke-dasharray": "4 4" });
    shared.draw(target, "path", { d: shared.path([[atTarget - 8, ground], [atTarget, ground - 9], [atTarget + 8, ground], [atTarget, ground + 9]]) + "Z", fill: "var(--xp-surface)", stroke: "var(--xp-text)", "stroke-width": 2 });
    shared.draw(svg, "text", { x: Math.min(Math.max(atTeacher, 28), width - 28), y: 16, "text-anchor": "middle", "pointer-events": "none" }, "teacher");
    const side = atTarget > atTeacher || (close < 1 && state.bias < 0) ? "start" : "end";
    const room = 92;
    const anchor = atTarget < room ? "start" : atTarget > width - room ? "end" : side;
    shared.draw(svg, "text", { x: atTarget + (anchor === "start" ? 6 : -6), y: 42, "text-anchor": anchor, "pointer-events": "none" }, "reward target");

    byId("picture-text").textContent =
      "Model centred " + state.bias.toFixed(2) + " standard deviations from the teacher; reward target at " +
      state.misspecification.toFixed(2) + "; the answer selected among " + state.samples + " lies at " + mean.toFixed(2) + " on average.";
  }

  /** Where the curve's axes lie; used for drawing and for turning a click into k. */
  function curveFrame() {
    const svg = byId("curve");
    const frame = { width: svg.clientWidth, height: svg.clientHeight, left: 46, right: 14, top: 26, bottom: 40 };
    frame.x = (k) => frame.left + (Math.log10(k) / Math.log10(K_SHOWN)) * (frame.width - frame.left - frame.right);
    frame.k = (x) => Math.pow(K_SHOWN, (x - frame.left) / (frame.width - frame.left - frame.right));
    return frame;
  }

  function drawCurve() {
    const svg = byId("curve");
    const f = curveFrame();
    svg.textContent = "";
    svg.setAttribute("viewBox", "0 0 " + f.width + " " + f.height);
    const points = [];
    for (let i = 0; i <= 100; i++) {
      const k = Math.pow(K_SHOWN, i / 100);
      points.push([k, result.loss(k)]);
    }
    const shown = points.map((p) => p[1]);
    const bottom = f.height - f.bottom;
    let y;
    let ticks;
    if (state.log) {
      const floor = result.unlimited > 0 ? [result.unlimited] : [];
      let low = Math.min.apply(null, shown.concat(floor));
      let high = Math.max.apply(null, shown.concat(floor));
      const pad = Math.max(Math.pow(high / low, 0.06), 1.02);
      low /= pad;
      high *= pad;
      y = (value) => bottom - (Math.log(value / low) / Math.log(high / low)) * (bottom - f.top);
      ticks = shared.logTicks(low, high);
    } else {
      const high = Math.max.apply(null, shown.concat([result.unlimited])) * 1.06;
      y = (value) => bottom - (value / high) * (bottom - f.top);
      const step = shared.niceStep(high, 6);
      ticks = [];
      for (let i = 0; i * step <= high; i++) ticks.push(Number((i * step).toPrecision(6)));
    }

    for (const tick of ticks) {
      shared.draw(svg, "line", { x1: f.left, x2: f.width - f.right, y1: y(tick), y2: y(tick), stroke: "var(--xp-line)", "stroke-width": 0.75 });
      const words = tick !== 0 && (tick < 1e-3 || tick >= 1e4) && /^1/.test(tick.toExponential()) ? "10" + shared.superscript(Math.round(Math.log10(tick))) : String(tick);
      shared.draw(svg, "text", { x: f.left - 6, y: y(tick) + 4, "text-anchor": "end", class: "muted" }, words);
    }
    shared.draw(svg, "line", { x1: f.left, x2: f.width - f.right, y1: bottom, y2: bottom, stroke: "var(--xp-muted)" });
    for (let e = 0; Math.pow(10, e) <= K_SHOWN; e++) {
      const at = f.x(Math.pow(10, e));
      shared.draw(svg, "line", { x1: at, x2: at, y1: bottom, y2: bottom + 4, stroke: "var(--xp-muted)" });
      shared.draw(svg, "text", { x: at, y: bottom + 17, "text-anchor": "middle", class: "muted" }, e < 2 ? String(Math.pow(10, e)) : "10" + shared.superscript(e));
    }
    shared.drawText(svg, { x: f.left + (f.width - f.left - f.right) / 2, y: f.height - 4, "text-anchor": "middle", class: "muted" }, "number of samples *k*");
    shared.drawText(svg, { x: 0, y: 12, class: "muted" }, "reranked loss *δ*ₖ(*T*) / *s*²");

    if (!state.log || result.unlimited > 0) {
      const at = y(result.unlimited);
      shared.draw(svg, "line", { x1: f.left, x2: f.width - f.right, y1: at, y2: at, stroke: "var(--xp-asymptote)", "stroke-width": 1.5, "stroke-dasharray": "6 4" });
      // the label sits on the side of the line that the curve's end leaves free
      const under = result.regime === "harmful" || result.regime === "finite" ? -7 : 16;
      const fits = at + under < bottom - 2 ? under : -7;
      shared.drawText(svg, { x: f.width - f.right, y: at + fits, "text-anchor": "end", class: "muted" }, "*k* → ∞: " + shared.format(result.unlimited));
    }
    const here = f.x(state.samples);
    const loss = result.loss(state.samples);
    shared.draw(svg, "line", { x1: here, x2: here, y1: f.top, y2: bottom, stroke: "var(--xp-exact)", "stroke-width": 1, opacity: 0.6 });
    shared.draw(svg, "path", { d: shared.path(points.map((p) => [f.x(p[0]), y(p[1])])), fill: "none", stroke: "var(--xp-exact)", "stroke-width": 2.5, "stroke-linejoin": "round" });
    for (let k = 1; k <= 10; k++) shared.draw(svg, "circle", { cx: f.x(k), cy: y(result.loss(k)), r: 2.5, fill: "var(--xp-exact)" });
    if (result.regime !== "none" && result.best <= K_SHOWN) {
      const at = [f.x(result.best), y(result.loss(result.best))];
      shared.draw(svg, "circle", { cx: at[0], cy: at[1], r: 6.5, fill: "var(--xp-regime)", stroke: "var(--xp-surface)", "stroke-width": 1.5 });
      const below = at[1] + 24 < bottom;
      const middle = Math.min(Math.max(at[0], f.left + 40), f.width - f.right - 40);
      shared.drawText(svg, { x: middle, y: at[1] + (below ? 22 : -14), "text-anchor": "middle" }, "best *k* = " + shared.integer(result.best));
    }
    shared.draw(svg, "circle", { cx: here, cy: y(loss), r: 5, fill: "var(--xp-surface)", stroke: "var(--xp-exact)", "stroke-width": 2.5 });

    byId("curve-text").textContent =
      "Reranked loss in units of s squared against the number of samples: " +
      [1, 10, 100, 1000, 10000].map((k) => shared.format(result.loss(k)) + " at k = " + k).join(", ") +
      ", " + shared.format(result.unlimited) + " for k to infinity.";
  }

  function exact(value) {
    return value === 0 ? "0" : value.toPrecision(10);
  }

  function writeNumbers() {
    const words = sentence();
    byId("regime").textContent = words[0];
    byId("sentence").textContent = words[1];
    const kBest = result.regime === "none" ? "any" : result.bestIsBeyond ? "> 10⁶" : result.best === Infinity ? "∞" : shared.integer(result.best);
    byId("single").textContent = shared.format(result.single);
    byId("k").textContent = shared.integer(state.samples);
    byId("loss").textContent = shared.format(result.loss(state.samples));
    byId("best").textContent = kBest;
    byId("best-loss").textContent = shared.format(result.loss(result.best));
    byId("unlimited").textContent = shared.format(result.unlimited);

    const body = byId("table").tBodies[0];
    body.textContent = "";
    function row(name, key, value) {
      const line = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      line.appendChild(head);
      line.insertCell().textContent = exact(value);
      line.dataset.k = key;
    }
    for (const k of ROWS) row(shared.integer(k), k, result.loss(k));
    if (result.regime !== "none" && isFinite(result.best)) row("best, " + kBest, "best", result.loss(result.best));
    row("∞", "inf", result.unlimited);
  }

  function writeSliders() {
    const T = state.temperature;
    const bias = signed(state.bias);
    const misspecification = signed(state.misspecification);
    const k = shared.integer(state.samples);
    byId("bias-value").textContent = bias;
    byId("misspecification-value").textContent = misspecification;
    byId("temperature-value").textContent = plainT(T);
    byId("samples-value").textContent = k;
    byId("bias").setAttribute("aria-valuetext", state.bias.toFixed(2) + " standard deviations");
    byId("misspecification").setAttribute("aria-valuetext", state.misspecification.toFixed(2) + " standard deviations");
    byId("temperature").setAttribute("aria-valuetext", T === 0 ? "0, best of k" : T === Infinity ? "infinity, no selection" : String(T));
    byId("samples").setAttribute("aria-valuetext", String(state.samples));
    document.querySelectorAll("#explorable-gaussian [data-start]").forEach(function (button) {
      const start = STARTS[button.dataset.start];
      const same = ["bias", "misspecification", "temperature", "samples"].every((key) => start[key] === state[key]);
      if (button.dataset.start !== "reset") button.setAttribute("aria-pressed", String(same));
    });
  }

  let computedFor = "";
  function redraw() {
    const began = performance.now();
    read();
    const key = [state.bias, state.misspecification, state.temperature].join();
    if (key !== computedFor) result = shared.gaussianEngine(state.bias, state.misspecification, state.temperature);
    computedFor = key;
    document.getElementById("explorable-gaussian").dataset.regime = result.regime;
    writeSliders();
    writeNumbers();
    drawPicture();
    drawCurve();
    state.milliseconds = performance.now() - began;
  }

  function start() {
    const root = document.getElementById("explorable-gaussian");
    if (!root) return;
    root.querySelector(".xp-live").hidden = false;
    const ask = shared.redrawer(root, redraw);
    write(STARTS.reset);
    root.addEventListener("input", ask);
    root.querySelectorAll("[data-start]").forEach(function (button) {
      button.addEventListener("click", function () {
        write(STARTS[button.dataset.start]);
        if (button.dataset.start === "reset") byId("log").checked = false;
        ask();
      });
    });

    // dragging the bump or the reward target is the same as moving its slider
    const picture = byId("picture");
    let dragged = null;
    picture.addEventListener("pointerdown", function (event) {
      const handle = event.target.closest("[data-drag]");
      if (!handle) return;
      dragged = { slider: byId(handle.dataset.drag), from: event.clientX };
      dragged.value = Number(dragged.slider.value);
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", function (event) {
      if (!dragged) return;
      dragged.slider.value = dragged.value + ((event.clientX - dragged.from) * 2 * Y_SHOWN) / picture.clientWidth;
      ask();
    });
    for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => (dragged = null));

    // a click or drag on the curve chooses k
    const curve = byId("curve");
    function choose(event) {
      setSamples(Math.min(K_SHOWN, Math.max(1, curveFrame().k(event.clientX - curve.getBoundingClientRect().left))));
      ask();
    }
    curve.addEventListener("pointerdown", function (event) {
      curve.setPointerCapture(event.pointerId);
      choose(event);
    });
    curve.addEventListener("pointermove", function (event) {
      if (event.buttons) choose(event);
    });
    redraw();
  }

  // for tests: what is set and what was computed last
  shared.gaussian = {
    state: () => Object.assign({ regime: result.regime, best: result.best, single: result.single, unlimited: result.unlimited }, state),
    engine: shared.gaussianEngine,
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})(window.bestofkExplorables);
