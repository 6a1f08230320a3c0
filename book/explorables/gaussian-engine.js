/* The exact reranked loss delta_k(T) of a quadratic judge on a Gaussian predictive, in the browser.
 *
 * Lengths are in units of the predictive's standard deviation s, losses and T in units of s^2:
 *   answers   z ~ N(0, 1)
 *   teacher   at b: loss (z - b)^2
 *   target    at a: reward -(z - a)^2
 *
 * Softmax selection is a race: candidate i gets V_i = r_i/T + Gumbel noise and the largest wins. With
 *   F(v) = P(V < v)            the cdf of one candidate's race time
 *   g(v) = E[loss; V in dv]    its density weighted by the loss
 * the loss of the winner among k is  delta_k = k * integral g(v) F(v)^(k-1) dv,  so one table of (F, g)
 * serves every k. At T = 0 the race is decided by the distance rho = |z - a| alone.
 */
(function (shared) {
  "use strict";
  const OUTER = shared.gaussLegendre(10);
  const INNER = shared.gaussLegendre(10);
  const FAR = 9; // standard deviations beyond which the normal density is left out
  const BOTTOM = -3.6; // below this Gumbel argument exp(-exp(-x)) is 0 to 1e-16
  const DEEP = 34; // and this far above the lowest one reached it no longer matters
  const STEPS = [2, 2, 3, 4, 6, 8, 9]; // panels from 0 to DEEP

  function density(z) {
    return 0.3989422804014327 * Math.exp(-0.5 * z * z);
  }

  /** P(|z - a| between the two distances), by quadrature: no cancellation near 0. */
  function ringMass(a, from, to) {
    const panels = Math.max(1, Math.ceil(to - from));
    const half = (to - from) / panels / 2;
    let mass = 0;
    for (let p = 0; p < panels; p++) {
      const middle = from + (2 * p + 1) * half;
      for (let i = 0; i < INNER.x.length; i++) {
        const rho = middle + half * INNER.x[i];
        mass += half * INNER.w[i] * (density(a + rho) + density(a - rho));
      }
    }
    return mass;
  }

  /** Quadrature table {weight, loss, logF}: delta_k = sum loss F^(k-1) / sum weight F^(k-1). */
  function table(size) {
    return {
      v: new Float64Array(size),
      weight: new Float64Array(size),
      loss: new Float64Array(size),
      logF: new Float64Array(size),
      size: 0,
    };
  }

  /** T = 0: the nearest candidate wins. The outer variable is its distance rho. */
  function tableAtZero(a, b) {
    const ends = [0];
    for (let rho = 1e-8; rho < 0.5; rho *= 2) ends.push(rho);
    for (let rho = ends[ends.length - 1]; rho < Math.abs(a) + FAR; ) ends.push((rho += 0.5));
    const t = table((ends.length - 1) * OUTER.x.length);
    let reached = 0;
    let mass = 0;
    for (let p = 0; p + 1 < ends.length; p++) {
      const half = (ends[p + 1] - ends[p]) / 2;
      for (let i = 0; i < OUTER.x.length; i++) {
        const rho = ends[p] + half * (1 + OUTER.x[i]);
        mass += ringMass(a, reached, rho);
        reached = rho;
        const right = density(a + rho);
        const left = density(a - rho);
        const step = half * OUTER.w[i];
        t.v[t.size] = rho;
        t.weight[t.size] = step * (right + left);
        t.loss[t.size] = step * (right * (a - b + rho) * (a - b + rho) + left * (a - b - rho) * (a - b - rho));
        t.logF[t.size++] = Math.log1p(-Math.min(mass, 1));
      }
    }
    return t;
  }

  /** Ends of the outer panels, from large v (the winners of many) down to where nobody is. */
  function raceEnds(a, tau, kMost) {
    const ends = [];
    for (let v = Math.log(kMost) + DEEP + 2; v > -4; v -= 2) ends.push(v);
    const lowest = BOTTOM - (tau * (Math.abs(a) + FAR) * (Math.abs(a) + FAR)) / 2;
    let v = ends[ends.length - 1];
    while (v > lowest) {
      const rho = v < 0 ? Math.sqrt((-2 * v) / tau) : 0;
      const byDistance = tau * (0.5 * rho + 0.125); // rho grows by at most about 0.5
      v -= Math.max(2, Math.min(-0.4 * v, byDistance));
      ends.push(v);
    }
    return ends;
  }

  /** T > 0: the outer variable is the race time v; tau = 2 s^2 / T, so r/T = -tau rho^2 / 2. */
  function tableOfRace(a, b, tau, kMost) {
    const ends = raceEnds(a, tau, kMost);
    const t = table((ends.length - 1) * OUTER.x.length);
    const far = Math.abs(a) + FAR;
    let reached = 0;
    let mass = 0;
    for (let p = 0; p + 1 < ends.length; p++) {
      const half = (ends[p] - ends[p + 1]) / 2;
      for (let i = 0; i < OUTER.x.length; i++) {
        const v = ends[p] - half * (1 + OUTER.x[i]);
        // candidates nearer than rho1 beat v for certain
        const rho1 = v < BOTTOM ? Math.sqrt((2 * (BOTTOM - v)) / tau) : 0;
        if (rho1 > reached) {
          const to = Math.min(rho1, far);
          if (to > reached) mass += ringMass(a, reached, to);
          reached = rho1;
        }
        let beaten = mass; // 1 - F(v)
        let weight = 0;
        let loss = 0;
        const lowest = Math.max(BOTTOM, v);
        let depth = 0;
        let before = 0;
        for (let s = 0; s < STEPS.length && rho1 + before < far; s++) {
          depth += STEPS[s];
          const twice = (2 * depth) / tau;
          const after = Math.min(twice / (rho1 + Math.sqrt(rho1 * rho1 + twice)), far - rho1);
          const cuts = Math.max(1, Math.ceil((after - before) / 0.8));
          const piece = (after - before) / cuts / 2;
          for (let c = 0; c < cuts; c++) {
            for (let j = 0; j < INNER.x.length; j++) {
              const x = before + piece * (2 * c + 1 + INNER.x[j]);
              const rho = rho1 + x;
              const e = Math.exp(-(lowest + tau * x * (rho1 + 0.5 * x)));
              const step = piece * INNER.w[j];
              const right = step * density(a + rho);
              const left = step * density(a - rho);
              const kernel = e * Math.exp(-e);
              beaten -= (right + left) * Math.expm1(-e);
              weight += (right + left) * kernel;
              loss += (right * (a - b + rho) * (a - b + rho) + left * (a - b - rho) * (a - b - rho)) * kernel;
            }
          }
          before = after;
        }
        const outer = half * OUTER.w[i];
        t.v[t.size] = v;
        t.weight[t.size] = outer * weight;
        t.loss[t.size] = outer * loss;
        t.logF[t.size++] = Math.log1p(-Math.min(beaten, 1));
      }
    }
    return t;
  }

  /** delta_k / s^2 from a table, for real k >= 1. */
  function lossFromTable(t, k) {
    let weight = 0;
    let loss = 0;
    for (let i = 0; i < t.size; i++) {
      const all = k === 1 ? 1 : Math.exp((k - 1) * t.logF[i]);
      weight += t.weight[i] * all;
      loss += t.loss[i] * all;
    }
    return loss / weight;
  }

  /** The limit k -> infinity: a tilted Gaussian. */
  function lossOfUnlimited(a, b, tau) {
    if (tau === Infinity) return (a - b) * (a - b);
    const mean = (a * tau) / (1 + tau);
    return 1 / (1 + tau) + (mean - b) * (mean - b);
  }

  /** Does the curve come down to its limit from below, so that some finite k beats k -> infinity? */
  function approachedFromBelow(a, b, tau) {
    if (tau === 0) return false;
    if (tau === Infinity) return 2 * a * (a - b) > 1;
    const t = 1 / tau;
    return (1 + 2 * a * b) * (t + 1) * (t + 2) < a * a * (3 * t + 4);
  }

  /** The integer k in 1..kMost with the least loss (one minimum assumed between neighbours of a grid). */
  function search(lossAt, kMost) {
    const grid = [];
    for (let i = 0, k = 0; k < kMost; i++) {
      k = Math.min(kMost, Math.max(k + 1, Math.round(Math.pow(10, i / 8))));
      grid.push(k);
    }
    let best = 0;
    const losses = grid.map(lossAt);
    for (let i = 1; i < grid.length; i++) if (losses[i] < losses[best]) best = i;
    let low = grid[Math.max(0, best - 1)];
    let high = grid[Math.min(grid.length - 1, best + 1)];
    while (high - low > 2) {
      const left = low + Math.floor((high - low) / 3);
      const right = high - Math.floor((high - low) / 3);
      if (lossAt(left) <= lossAt(right)) high = right;
      else low = left;
    }
    let k = low;
    for (let other = low + 1; other <= high; other++) if (lossAt(other) < lossAt(k)) k = other;
    return k;
  }

  /**
   * Everything about one setting. bias = (m - mu_T)/s, misspecification = (mu_R - mu_T)/s,
   * temperature = T/s^2 in [0, Infinity].
   */
  shared.gaussianEngine = function (bias, misspecification, temperature) {
    const K_MOST = 1e6;
    const a = misspecification - bias;
    const b = -bias;
    const tau = temperature === 0 ? Infinity : 2 / temperature; // 2 / Infinity = 0
    const single = 1 + b * b;
    let t = null;
    if (tau === Infinity) t = tableAtZero(a, b);
    else if (tau > 0) t = tableOfRace(a, b, tau, K_MOST);

    function lossAt(k) {
      if (k === 1 || t === null) return single;
      return k === Infinity ? lossOfUnlimited(a, b, tau) : lossFromTable(t, k);
    }

    const unlimited = lossAt(Infinity);
    let best = t === null ? 1 : search(lossAt, K_MOST);
    let regime;
    if (t === null) {
      regime = "none";
    } else if (best === 1) {
      regime = "harmful";
    } else if (approachedFromBelow(a, b, tau) || lossAt(best) < unlimited * (1 - 1e-9)) {
      regime = "finite";
    } else {
      regime = "monotone";
      best = Infinity;
    }

    /** log F at race time v (or distance, at T = 0), interpolated: for pictures only. */
    function logF(v) {
      let low = 0;
      let high = t.size - 1;
      const down = t.v[0] > t.v[high];
      if (down ? v >= t.v[low] : v <= t.v[low]) return t.logF[low];
      if (down ? v <= t.v[high] : v >= t.v[high]) return t.logF[high];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (down ? t.v[middle] > v : t.v[middle] < v) low = middle;
        else high = middle;
      }
      if (t.logF[low] === -Infinity || t.logF[high] === -Infinity) return -Infinity;
      const part = (v - t.v[low]) / (t.v[high] - t.v[low]);
      return t.logF[low] + part * (t.logF[high] - t.logF[low]);
    }

    /** Density of the selected answer at z (units of s from the predictive mean): for pictures only. */
    function selectedDensity(z, k) {
      if (k === 1 || t === null) return density(z);
      const rho = Math.abs(z - a);
      if (tau === Infinity) return k * density(z) * Math.exp((k - 1) * logF(rho));
      const r = (-tau * rho * rho) / 2;
      let wins = 0;
      for (let x = BOTTOM; x < 24; x += 0.4) {
        const e = Math.exp(-x);
        wins += 0.4 * e * Math.exp(-e + (k - 1) * logF(r + x));
      }
      return k * density(z) * wins;
    }

    return {
      a: a,
      b: b,
      loss: lossAt,
      single: single,
      unlimited: unlimited,
      best: best,
      bestIsBeyond: best === K_MOST,
      regime: regime,
      selectedDensity: selectedDensity,
    };
  };
})(window.bestofkExplorables);
