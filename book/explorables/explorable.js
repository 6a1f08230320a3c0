/* What every explorable shares: DOM and SVG helpers, number formats, axes, redraw on resize.
 *
 * Classic script, nothing loaded from elsewhere, so a page works from file://. It fills
 * window.bestofkExplorables, where each explorable also leaves a small object for tests.
 *
 * A further explorable is NAME.html (markup, words, the scripts it needs) and NAME.js beside this file; a chapter
 * takes it in with a {raw} html directive whose :file: is explorables/NAME.html, so that no other page loads it.
 */
window.bestofkExplorables = window.bestofkExplorables || {};
(function (shared) {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  /** Create an SVG element with attributes and optional text, appended to `parent`. */
  shared.draw = function (parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  };

  /** Create an SVG text whose starred words, as in "best *k*", are set in italics. */
  shared.drawText = function (parent, attributes, text) {
    const element = shared.draw(parent, "text", attributes);
    text.split("*").forEach(function (part, i) {
      if (part) shared.draw(element, "tspan", i % 2 ? { "font-style": "italic" } : {}, part);
    });
    return element;
  };

  /** Path data through points; a null point lifts the pen. */
  shared.path = function (points) {
    let data = "";
    let pen = "M";
    for (const point of points) {
      if (point === null) {
        pen = "M";
        continue;
      }
      data += pen + point[0].toFixed(2) + " " + point[1].toFixed(2);
      pen = "L";
    }
    return data;
  };

  /** A number for people: three significant digits, powers of ten where they read better. */
  shared.format = function (value, digits) {
    if (value === Infinity) return "∞";
    if (value === 0) return "0";
    digits = digits || 3;
    const size = Math.abs(value);
    if (size >= 1e-3 && size < 1e5) {
      const text = value.toPrecision(digits);
      return (text.indexOf("e") < 0 ? text : String(Number(text))).replace("-", "−");
    }
    const parts = value.toExponential(digits - 1).split("e");
    return parts[0].replace("-", "−") + " × 10" + shared.superscript(Number(parts[1]));
  };

  shared.superscript = function (integer) {
    return String(integer).replace(/[-0-9]/g, function (c) {
      return c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)];
    });
  };

  /** An integer with thin spaces between thousands. */
  shared.integer = function (value) {
    return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  };

  /** A step of 1, 2 or 5 times a power of ten that cuts `range` into at most `most` pieces. */
  shared.niceStep = function (range, most) {
    const rough = range / most;
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    for (const step of [1, 2, 5, 10]) if (step * power >= rough * (1 - 1e-9)) return step * power;
  };

  /** Ticks for a logarithmic axis: decades, or finer where the axis spans less than two. */
  shared.logTicks = function (low, high) {
    const ticks = [];
    const decades = Math.log10(high / low);
    const every = Math.max(1, Math.ceil(decades / 6));
    const inside = decades < 1.2 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : decades < 2.5 ? [1, 2, 5] : [1];
    if (decades < 0.5) {
      const step = shared.niceStep(high - low, 5);
      for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-9); i++) ticks.push(Number((i * step).toPrecision(6)));
      return ticks;
    }
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
      if (inside.length === 1 && e % every) continue;
      for (const m of inside) {
        const tick = m * Math.pow(10, e);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
      }
    }
    return ticks;
  };

  /** Call `redraw` at most once a frame, and whenever `element` changes its width. */
  shared.redrawer = function (element, redraw) {
    let waiting = false;
    let width = 0;
    function ask() {
      if (waiting) return;
      waiting = true;
      window.requestAnimationFrame(function () {
        waiting = false;
        redraw();
      });
    }
    if (window.ResizeObserver) {
      new window.ResizeObserver(function () {
        if (element.clientWidth !== width) {
          width = element.clientWidth;
          ask();
        }
      }).observe(element);
    }
    return ask;
  };

  /** Nodes and weights of Gauss-Legendre quadrature on [-1, 1], by Newton's method. */
  shared.gaussLegendre = function (n) {
    const x = new Float64Array(n);
    const w = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let root = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
      let slope = 1;
      for (let step = 0; step < 20; step++) {
        let before = 1;
        let value = root;
        for (let j = 2; j <= n; j++) {
          const next = ((2 * j - 1) * root * value - (j - 1) * before) / j;
          before = value;
          value = next;
        }
        slope = (n * (root * value - before)) / (root * root - 1);
        const move = value / slope;
        root -= move;
        if (Math.abs(move) < 1e-16) break;
      }
      x[i] = -root;
      w[i] = 2 / ((1 - root * root) * slope * slope);
    }
    return { x: x, w: w };
  };
})(window.bestofkExplorables);
