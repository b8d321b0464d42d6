// The map of the embeddings. A group has a colour of eight and a shape of five, which have no common factor: forty are
// distinct, and consecutive ones differ in both.
const SHAPES = [
  "M0-1A1 1 0 1 0 0 1A1 1 0 1 0 0-1Z", "M-.85-.85H.85V.85H-.85Z", "M0-1.1L1.05.8H-1.05Z", "M0-1.2L1.2 0L0 1.2L-1.2 0Z",
  "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
];
const shape = (group) => SHAPES[group % SHAPES.length];
const PATHS = SHAPES.map((path) => new Path2D(path));

function startMap(root) {
  const map = DATA.runs[Number(root.dataset.run)].map;
  const canvas = root.querySelector("canvas"), card = root.querySelector(".card");
  const controls = root.querySelector(".controls"), legend = root.querySelector(".legend");
  const pen = canvas.getContext("2d");
  const image = new Image();
  image.src = map.sheet.src;
  image.onload = () => draw();
  const sheet = document.head.appendChild(document.createElement("style"));
  sheet.textContent = `.of-run-${root.dataset.run} .sprite { background-image: url(${map.sheet.src}); }`;
  root.classList.add(`of-run-${root.dataset.run}`);
  const groups = [...new Set(map.groups)].sort((a, b) => a - b);
  const state = { layout: Object.keys(map.layouts)[0], hidden: new Set(), wrong: false, pictures: false, at: -1 };
  const extent = {};
  for (const [name, axes] of Object.entries(map.layouts)) {
    const low = axes.map((values) => Math.min(...values));
    extent[name] = { low, span: axes.map((values, axis) => Math.max(...values) - low[axis] || 1e-6) };
  }
  const visible = (i) => !state.hidden.has(map.groups[i]) && !(state.wrong && map.right[i]);

  const button = (text, pressed, press) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-pressed", pressed());
    made.onclick = () => { press(); controls.querySelectorAll("button").forEach((b) => b.update()); draw(); };
    made.update = () => made.setAttribute("aria-pressed", pressed());
    controls.append(made);
  };
  for (const name of Object.keys(map.layouts)) button(name, () => state.layout === name, () => (state.layout = name));
  button("pictures", () => state.pictures, () => (state.pictures = !state.pictures));
  if (map.right) button("only those whose neighbours disagree", () => state.wrong, () => (state.wrong = !state.wrong));
  button("all groups", () => !state.hidden.size, () => {
    const all = !state.hidden.size;
    state.hidden = new Set(all ? groups : []);
    legend.querySelectorAll("input").forEach((box) => (box.checked = !all));
  });
  for (const group of groups) {
    const label = document.createElement("label");
    label.innerHTML = `<input type="checkbox" checked> <svg viewBox="-1.3 -1.3 2.6 2.6" aria-hidden="true"><path d="${shape(group)}" style="fill:${colour(group)}"/></svg> ${escape(map.group_names[group])}`;
    label.querySelector("input").onchange = (event) => {
      state.hidden[event.target.checked ? "delete" : "add"](group);
      controls.querySelectorAll("button").forEach((b) => b.update());
      draw();
    };
    legend.append(label);
  }

  // One scale for both axes, as large as fits.
  const place = (i) => {
    const [x, y] = map.layouts[state.layout], pad = state.pictures ? 22 : 12;
    const { low, span } = extent[state.layout], wide = canvas.clientWidth - 2 * pad, tall = canvas.clientHeight - 2 * pad;
    const scale = Math.min(wide / span[0], tall / span[1]);
    const left = pad + (wide - scale * span[0]) / 2, top = pad + (tall - scale * span[1]) / 2;
    return [left + scale * (x[i] - low[0]), top + scale * (span[1] - (y[i] - low[1]))];
  };
  function draw() {
    if (state.at >= 0 && !visible(state.at)) {
      state.at = -1;
      card.innerHTML = "<p>Point at an image.</p>";
    }
    const ratio = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
    const colours = [...Array(8).keys()].map((i) => style.getPropertyValue(`--c${i}`));
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const size = Math.max(2.4, Math.min(5, 110 / Math.sqrt(map.count)));
    for (let i = 0; i < map.count; i++) if (visible(i)) point(i, size, colours);
    if (state.at >= 0) {
      map.near[state.at].forEach((j) => ring(j, size + 2, style.getPropertyValue("--soft"), 1.5));
      ring(state.at, size + 4, style.getPropertyValue("--ink"), 2.5);
    }
  }
  function point(i, size, colours) {
    const [x, y] = place(i), group = map.groups[i];
    if (state.pictures && image.complete) {
      const { tile, columns } = map.sheet, side = Math.max(18, Math.min(34, 900 / Math.sqrt(map.count)));
      pen.imageSmoothingEnabled = tile > side;
      pen.drawImage(image, (i % columns) * tile, Math.floor(i / columns) * tile, tile, tile, x - side / 2, y - side / 2, side, side);
      pen.lineWidth = 2;
      pen.strokeStyle = colours[group % 8];
      pen.strokeRect(x - side / 2, y - side / 2, side, side);
      return;
    }
    pen.save();
    pen.translate(x, y);
    pen.scale(size, size);
    pen.fillStyle = colours[group % 8];
    pen.globalAlpha = 0.85;
    pen.fill(PATHS[group % PATHS.length]);
    pen.restore();
  }
  function ring(i, radius, ink, width) {
    const [x, y] = place(i);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.lineWidth = width;
    pen.strokeStyle = ink;
    pen.stroke();
  }

  const sprite = (i) => {
    const { columns, rows } = map.sheet, column = i % columns, row = Math.floor(i / columns);
    const at = (k, of) => (of > 1 ? (100 * k) / (of - 1) : 0);
    return `background-size:${columns * 100}% ${rows * 100}%;background-position:${at(column, columns)}% ${at(row, rows)}%`;
  };
  const group = (i) => map.group_names[map.groups[i]];
  function select(i) {
    if (i === state.at || i < 0) return;
    state.at = i;
    const judged = map.right ? `<p class="${map.right[i] ? "right" : "wrong"}">${map.right[i] ? "✓" : "✗"} ${map.agree[i]} of its ${map.voting} nearest have its label</p>` : "";
    const nears = map.near[i].map((j) => {
      const same = map.kind === "label" ? (map.groups[j] === map.groups[i] ? "✓ " : "✗ ") : "";
      return `<figure><div class="sprite" role="img" aria-label="neighbour ${escape(map.names[j])}" style="${sprite(j)}"></div><figcaption>${same}${escape(group(j))}</figcaption></figure>`;
    });
    card.innerHTML = `<div class="sprite big" role="img" aria-label="${escape(map.names[i])}" style="${sprite(i)}"></div><p><b>${escape(group(i))}</b><br>${escape(map.names[i])}</p>${judged}<p>the ${map.near[i].length} nearest:</p><div class="nears">${nears.join("")}</div>`;
    draw();
  }
  function nearestTo(event) {
    const frame = canvas.getBoundingClientRect(), px = event.clientX - frame.left, py = event.clientY - frame.top;
    let best = -1, least = 24 ** 2;
    for (let i = 0; i < map.count; i++) {
      if (!visible(i)) continue;
      const [x, y] = place(i), far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }
  canvas.onpointermove = canvas.onpointerdown = (event) => select(nearestTo(event));
  canvas.onkeydown = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    for (let i = state.at + move; i >= 0 && i < map.count; i += move) if (visible(i)) { select(i); return; }
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  select(0);
}
document.querySelectorAll(".map").forEach(startMap);
