/* The explorable of the chapter "reranking": softmax selection as a race with Gumbel noise. */
(function (shared) {
  "use strict";
  const START = { temperature: 0.5, samples: 5, scores: [1.2, 0.3, 2.0, 1.6, 0.8, 2.3, 0.1, 1.9] };
  const LEFT = -2; // ends of the race course, in units of the score
  const RIGHT = 8;
  const LANE = 32;
  const TOP = 30;
  const byId = (name) => document.getElementById("xr-" + name);

  /** Marsaglia's xorshift, seeded, so that a reset shows the same first race. */
  function generator(seed) {
    let state = seed >>> 0;
    return function () {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return ((state >>> 0) + 0.5) / 4294967296;
    };
  }

  let random = generator(20240607);
  let scores = START.scores.slice();
  let noise = []; // Gumbel noise of the race shown
  let wins = [];
  let races = 0;
  let set = "";

  const gumbel = () => -Math.log(-Math.log(random()));

  /** The answer whose mark is furthest to the right; equal marks share, by one more draw. */
  function winner(k, T, noise) {
    let best = 0;
    for (let i = 1; i < k; i++) if (scores[i] + T * noise[i] > scores[best] + T * noise[best]) best = i;
    const level = [];
    for (let i = 0; i < k; i++) if (scores[i] + T * noise[i] === scores[best] + T * noise[best]) level.push(i);
    return level.length === 1 ? best : level[Math.floor(random() * level.length)];
  }

  function softmax(k, T) {
    const most = Math.max.apply(null, scores.slice(0, k));
    const weights = scores.slice(0, k).map((r) => (r === most ? 1 : T === 0 ? 0 : Math.exp((r - most) / T)));
    const total = weights.reduce((p, q) => p + q);
    return weights.map((w) => w / total);
  }

  function race(times) {
    const k = Number(byId("samples").value);
    const T = Number(byId("temperature").value);
    for (let n = 0; n < times; n++) {
      noise = scores.map(gumbel);
      wins[winner(k, T, noise)]++;
    }
    races += times;
  }

  function drawRace(k, T, probabilities, first) {
    const svg = byId("race");
    const width = svg.clientWidth;
    const height = TOP + k * LANE + 26;
    svg.style.height = height + "px";
    svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    svg.textContent = "";
    const narrow = width < 480;
    const from = narrow ? 20 : 70;
    const to = width * (narrow ? 0.62 : 0.6);
    const shares = width * (narrow ? 0.68 : 0.66);
    const x = (value) => from + ((Math.min(RIGHT, Math.max(LEFT, value)) - LEFT) / (RIGHT - LEFT)) * (to - from);
    const bar = (share) => shares + share * (width - 52 - shares);
    shared.draw(svg, "text", { x: from, y: 14, class: "muted" }, narrow ? "score → mark" : "from the score to the mark");
    shared.draw(svg, "text", { x: shares, y: 14, class: "muted" }, narrow ? "wins, softmax" : "share of wins, and softmax");
    for (let i = 0; i < k; i++) {
      const y = TOP + (i + 0.5) * LANE;
      const won = i === first;
      const mark = scores[i] + T * noise[i];
      shared.draw(svg, "text", { x: 0, y: y + 4, class: won ? "" : "muted" }, (narrow ? "" : "answer ") + (i + 1));
      shared.draw(svg, "line", { x1: from, x2: to, y1: y, y2: y, stroke: "var(--xp-line)" });
      shared.draw(svg, "line", { x1: x(scores[i]), x2: x(mark), y1: y, y2: y, stroke: won ? "var(--xp-exact)" : "var(--xp-muted)", "stroke-width": won ? 3 : 1.5 });
      shared.draw(svg, "rect", { x: x(scores[i]) - 2, y: y - 9, width: 4, height: 18, fill: "var(--xp-text)" });
      shared.draw(svg, "circle", { cx: x(mark), cy: y, r: 6, fill: won ? "var(--xp-exact)" : "var(--xp-surface)", stroke: won ? "var(--xp-exact)" : "var(--xp-muted)", "stroke-width": 2 });
      const share = races ? wins[i] / races : 0;
      shared.draw(svg, "rect", { x: shares, y: y - 8, width: bar(share) - shares, height: 16, fill: "var(--xp-exact)", opacity: 0.75 });
      shared.draw(svg, "line", { x1: bar(probabilities[i]), x2: bar(probabilities[i]), y1: y - 12, y2: y + 12, stroke: "var(--xp-text)", "stroke-width": 3 });
      shared.draw(svg, "text", { x: width, y: y + 4, "text-anchor": "end", class: "muted" }, (100 * share).toFixed(1) + " %");
    }
    const ground = TOP + k * LANE + 4;
    for (let tick = LEFT; tick <= RIGHT; tick += narrow ? 4 : 2) {
      shared.draw(svg, "text", { x: x(tick), y: ground + 14, "text-anchor": "middle", class: "muted" }, String(tick).replace("-", "−"));
    }
    byId("race-text").textContent = "Race of " + k + " answers at temperature " + T + ": answer " + (first + 1) +
      " has the mark furthest to the right. Scores " + scores.slice(0, k).join(", ") + "; shares of wins so far " +
      wins.slice(0, k).map((w) => (100 * w / races).toFixed(1) + " percent").join(", ") + ".";
  }

  function redraw() {
    const k = Number(byId("samples").value);
    const T = Number(byId("temperature").value);
    if (set !== [k, T, scores].join()) {
      // another race: count again, but keep the noise, so that the marks can be watched moving with T
      set = [k, T, scores].join();
      wins = scores.map(() => 0);
      races = 1;
      if (!noise.length) noise = scores.map(gumbel);
      wins[winner(k, T, noise)]++;
    }
    const probabilities = softmax(k, T);
    const first = winner(k, T, noise);
    byId("temperature-value").textContent = T.toFixed(2);
    byId("temperature").setAttribute("aria-valuetext", T === 0 ? "0, no noise" : T.toFixed(2));
    byId("samples-value").textContent = k;
    drawRace(k, T, probabilities, first);

    const gaps = probabilities.map((p, i) => Math.abs(wins[i] / races - p));
    const most = gaps.indexOf(Math.max.apply(null, gaps));
    const chance = Math.sqrt((probabilities[most] * (1 - probabilities[most])) / races);
    byId("verdict").textContent = races === 1
      ? "Answer " + (first + 1) + " wins this race" + (T === 0 ? "; without noise it always will." : ". Softmax gives it " +
        (100 * probabilities[first]).toFixed(1) + " % of all races.")
      : "After " + shared.integer(races) + " races the largest gap between a bar and its softmax line is " +
        (100 * gaps[most]).toFixed(1) + " points; chance alone makes about " + (100 * chance).toFixed(1) + ".";

    const body = byId("table").tBodies[0];
    body.textContent = "";
    for (let i = 0; i < k; i++) {
      const line = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = i + 1;
      line.appendChild(head);
      for (const text of [scores[i].toFixed(1), wins[i], (wins[i] / races).toFixed(4), probabilities[i].toFixed(8)])
        line.insertCell().textContent = text;
    }
  }

  function reset() {
    random = generator(20240607);
    scores = START.scores.slice();
    noise = [];
    set = "";
    byId("temperature").value = START.temperature;
    byId("samples").value = START.samples;
  }

  function start() {
    const root = document.getElementById("explorable-reranking");
    if (!root) return;
    root.querySelector(".xp-live").hidden = false;
    const ask = shared.redrawer(root, redraw);
    reset();
    root.addEventListener("input", ask);
    const press = (name, action) => byId(name).addEventListener("click", () => (action(), ask()));
    press("once", () => race(1));
    press("often", () => race(1000));
    press("scores", () => (scores = scores.map(() => Math.round(25 * random()) / 10)));
    press("reset", reset);
    redraw();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})(window.bestofkExplorables);
