"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const colour = (i) => `var(--c${i % 8})`;
// One axis of steps for all curves, so that a step is at the same place in each.
const STEPS = DATA.runs.flatMap((run) => [
  ...run.warnings.map(({ step }) => step), ...Object.values(run.curves).flatMap(({ step }) => [step[0], step.at(-1)]),
]);
const LINE = (x1, y1, x2, y2, kind) => `<line class="${kind}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
}

// About `count` round numbers in [low, high].
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => raw <= m * power * 1.0001);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(v);
  return found;
}
function powers(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p++) found.push(10 ** p);
  const every = Math.ceil(found.length / 6);
  return found.length > 1 ? found.filter((_, i) => i % every === 0) : ticks(low, high, 4).filter((v) => v > 0);
}

function scale(values, log, from, to, pad) {
  let low = Math.min(...values), high = Math.max(...values);
  if (!log && pad) {
    // Values that differ by rounding only get the room of a constant.
    const room = (high - low > 1e-6 * Math.abs(high) ? high - low : Math.abs(high) || 1) * 0.06;
    low = low >= 0 && low - room < 0 ? 0 : low - room;
    high += room;
  }
  if (log && low === high) { low /= 2; high *= 2; }
  if (low === high) { low -= 0.5; high += 0.5; }
  const f = log ? Math.log10 : (v) => v;
  const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  return { at, ticks: log ? powers(low, high) : ticks(low, high, pad ? 4 : 5) };
}

// Draws lines into a figure. lines: [{name, x, y, colour, dash}], marks: [{x, name}].
function chart(figure, spec, lines, marks) {
  const width = Math.max(240, figure.clientWidth), height = spec.height || 190;
  const box = { left: 46, right: width - 8, top: marks.length ? 18 : 8, bottom: height - 22 };
  const unit = spec.unit === "%" ? 100 : 1;
  const ys = lines.flatMap((l) => l.y).map((v) => v * unit), xs = lines.flatMap((l) => l.x);
  const log = spec.scale === "log" || (spec.scale === "auto" && Math.min(...ys) > 0 && Math.max(...ys) > 30 * Math.min(...ys));
  const x = scale([...xs, ...(spec.logx ? [] : STEPS)], spec.logx, box.left, box.right, false);
  const y = scale(ys, log, box.bottom, box.top, true);
  let drawn = "";
  for (const v of y.ticks) drawn += LINE(box.left, y.at(v), box.right, y.at(v), "grid") + `<text x="${box.left - 6}" y="${y.at(v) + 4}" text-anchor="end">${number(v)}</text>`;
  for (const v of x.ticks) drawn += `<text x="${x.at(v)}" y="${height - 5}" text-anchor="middle">${v >= 1e4 ? number(v / 1e3) + "k" : number(v)}</text>`;
  marks.forEach((m) => (drawn += LINE(x.at(m.x), box.top, x.at(m.x), box.bottom, "warn") + `<text class="warn-name" x="${x.at(m.x)}" y="12">${escape(m.name)}</text>`));
  for (const l of lines) {
    const points = l.x.map((v, i) => `${x.at(v).toFixed(1)},${y.at(l.y[i] * unit).toFixed(1)}`);
    drawn += points.length > 1
      ? `<polyline class="line" points="${points.join(" ")}" style="stroke:${l.colour}" stroke-dasharray="${l.dash}"/>`
      : `<circle cx="${points[0].split(",")[0]}" cy="${points[0].split(",")[1]}" r="3.5" style="fill:${l.colour}"/>`;
  }
  // Of a ramp the first and the last name say all.
  const named = spec.ramp ? lines.filter((l) => l.key) : lines;
  const keys = named.length > 1
    ? `<div class="keys">${named.map((l) => `<span><svg viewBox="0 0 26 8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" stroke-width="2.5" style="stroke:${l.colour}" stroke-dasharray="${l.dash}"/></svg>${escape(l.name)}</span>`).join("")}</div>` : "";
  const told = lines.map((l) => `${l.name}: from ${number(l.y[0] * unit)} to ${number(l.y.at(-1) * unit)}${spec.unit ? " " + spec.unit : ""}`).join("; ");
  figure.innerHTML = `<figcaption>${escape(spec.title)}${spec.unit ? ` (${spec.unit})` : ""}<small>${escape(spec.says || "")}</small></figcaption>${keys}`
    + `<svg viewBox="0 0 ${width} ${height}" height="${height}" role="img" aria-label="${escape(spec.title + ". " + told)}">${drawn}<line class="cursor" y1="${box.top}" y2="${box.bottom}" visibility="hidden"/></svg>`;

  const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor");
  const steps = [...new Set(xs)].sort((a, b) => a - b);
  let current = steps.length - 1;
  const show = (i) => {
    current = Math.max(0, Math.min(steps.length - 1, i));
    const step = steps[current], at = x.at(step), place = svg.getBoundingClientRect();
    cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); cursor.setAttribute("visibility", "visible");
    const rows = lines.map((l) => {
      let best = 0;
      l.x.forEach((v, j) => { if (Math.abs(v - step) < Math.abs(l.x[best] - step)) best = j; });
      return `<br><i class="swatch" style="background:${l.colour}"></i>${escape(l.name)} <b>${number(l.y[best] * unit)}</b>`;
    });
    tip.innerHTML = `${spec.across || "step"} ${number(step)}${rows.join("")}`;
    tip.style.display = "block";
    const left = place.left + scrollX + at + 14, most = scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, left > most ? left - tip.offsetWidth - 28 : left)}px`;
    tip.style.top = `${place.top + scrollY + 10}px`;
  };
  const hide = () => { tip.style.display = "none"; cursor.setAttribute("visibility", "hidden"); };
  svg.onpointermove = (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    let best = 0;
    steps.forEach((v, i) => { if (Math.abs(x.at(v) - at) < Math.abs(x.at(steps[best]) - at)) best = i; });
    show(best);
  };
  svg.onpointerleave = hide;
  figure.onblur = hide;
  figure.onkeydown = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) { event.preventDefault(); show(current + move); }
  };
}

// One colour a run; of one run, one colour a series. Dashes distinguish what colour does not.
function curveLines(spec) {
  const several = DATA.runs.length > 1;
  return DATA.runs.flatMap((run, r) => spec.series.flatMap((name, s) => {
    const series = run.curves[name];
    if (!series) return [];
    const own = (spec.names || {})[name] || name;
    const called = several && spec.series.length > 1 ? `${run.name}, ${own}` : several ? run.name : own;
    if (spec.ramp) {
      const share = Math.round(100 - (65 * s) / Math.max(1, spec.series.length - 1));
      const shade = `color-mix(in oklab, ${colour(r)} ${share}%, var(--paper))`;
      return [{ name: called, x: series.step, y: series.value, colour: shade, dash: several ? DASHES[r % 4] : "", key: s === 0 || s === spec.series.length - 1 }];
    }
    return [{ name: called, x: series.step, y: series.value, colour: colour(several ? r : s), dash: DASHES[(several && spec.series.length > 1 ? s : several ? r : s) % 4] }];
  }));
}

function spectrumLines() {
  const several = DATA.runs.length > 1;
  return DATA.runs.flatMap((run, r) => Object.entries(run.spectrum || {}).filter(([, v]) => v.length).map(([name, values], s) => ({
    name: several ? `${run.name}, ${name}` : name, x: values.map((_, i) => i + 1), y: values,
    colour: several ? colour(r) : colour(s ? 6 : 0), dash: s ? DASHES[1] : "",
  })));
}

function drawCharts() {
  for (const figure of document.querySelectorAll(".chart")) {
    if (!figure.clientWidth) continue;
    if (figure.dataset.of === "spectrum") {
      const spec = { title: "Share of the variance", says: "", across: "direction", scale: "log", logx: true, height: 260 };
      chart(figure, spec, spectrumLines(), []);
      continue;
    }
    const marks = DATA.runs.flatMap((run) => run.warnings.map((w, i) => ({ x: w.step, name: DATA.runs.length > 1 ? "!" : String(i + 1) })));
    const spec = DATA[figure.dataset.of][Number(figure.dataset.chart)];
    chart(figure, spec, curveLines(spec), marks);
  }
}
drawCharts();
document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", drawCharts));
addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach((d) => (d.open = true)); drawCharts(); });
let seenWidth = innerWidth;
addEventListener("resize", () => { if (innerWidth !== seenWidth) { seenWidth = innerWidth; drawCharts(); } });
