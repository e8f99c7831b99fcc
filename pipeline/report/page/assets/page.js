"use strict";
// Draws the charts of the page when they come near, and keeps theme, Pareto front and live reloading.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"];
  const views = new Map();

  const cssValue = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Colours in specifications are names of custom properties: put in what they are now.
  function resolved(value) {
    if (typeof value === "string") return value.startsWith("var(--") ? cssValue(value.slice(4, -1)) : value;
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, key === "values" ? one : resolved(one)]));
    }
    return value;
  }

  const series = () => SHAPES.map((_, index) => cssValue(`--series-${index}`));

  function config() {
    const ink = cssValue("--ink"), muted = cssValue("--muted"), line = cssValue("--line");
    return {
      background: "transparent",
      font: "system-ui, 'DejaVu Sans', sans-serif",
      view: { stroke: null },
      axis: {
        labelColor: muted, titleColor: muted, gridColor: line, domainColor: cssValue("--line-strong"), tickColor: line,
        titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11,
      },
      legend: { labelColor: ink, titleColor: muted, labelFontSize: 11 },
      text: { fontSize: 11, color: ink },
      range: { category: series(), symbol: SHAPES },
    };
  }

  async function draw(place, spec, description) {
    const old = views.get(place);
    const lite = !spec.$schema;
    const { $schema, ...rest } = resolved(spec);
    if (lite) rest.autosize = { type: "fit-x", contains: "padding" };
    const result = await vegaEmbed(place, rest, {
      mode: lite ? "vega-lite" : "vega",
      ast: true, // interprets expressions: the page's policy allows no eval
      actions: false,
      renderer: "svg",
      config: config(),
      tooltip: { theme: "custom", disableDefaultStyle: false },
    });
    old?.finalize();
    views.set(place, result);
    const svg = place.querySelector("svg");
    for (const one of svg.querySelectorAll("[role], [aria-label], [aria-roledescription], [aria-hidden]")) {
      for (const name of ["role", "aria-label", "aria-roledescription", "aria-hidden"]) one.removeAttribute(name);
    }
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", description);
    place.dataset.drawn = "true";
    place.style.minHeight = "0";
    return result;
  }

  // Charts are drawn when they come near the window, so that a long page answers at once.
  const places = [...document.querySelectorAll("[data-chart]")];
  const drawChart = (place) =>
    draw(place, data.charts[place.dataset.chart].spec, place.dataset.description).catch((error) => failed(place, error));
  function failed(place, error) {
    place.textContent = "This chart cannot be drawn; its numbers are in the table.";
    console.error(error);
  }
  let queue = Promise.resolve(); // one chart at a time, with a pause in which the page answers
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      queue = queue.then(() => drawChart(target)).then(() => new Promise((done) => setTimeout(done)));
    }
  }, { rootMargin: "300px" });

  // The Pareto front.
  const fronts = [];
  class Front {
    constructor(element) {
      this.element = element;
      const { points, axes, spec } = data.fronts[element.dataset.front];
      Object.assign(this, { points, axes, spec, hidden: new Set(), only: null });
      this.groups = [...new Set(points.map((point) => point.group))];
      this.place = element.querySelector("[data-plot]");
      this.selects = { x: element.querySelector("[data-axis=x]"), y: element.querySelector("[data-axis=y]") };
      for (const select of Object.values(this.selects)) select.addEventListener("change", () => this.update());
      this.groups.forEach((group, index) => this.addGroup(group, index));
      for (const row of element.querySelectorAll("tr[data-point]")) {
        row.querySelector("button").addEventListener("click", () => this.choose(Number(row.dataset.point)));
      }
      const controls = element.querySelector(".controls");
      controls.hidden = false;
      this.clear = document.createElement("button");
      Object.assign(this.clear, { type: "button", textContent: "Show all", hidden: true });
      this.clear.addEventListener("click", () => { this.only = null; this.hidden.clear(); this.update(); });
      controls.append(this.clear);
    }

    addGroup(group, index) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.group = group;
      button.append(symbol(index), group);
      button.addEventListener("click", () => {
        this.only = null;
        this.hidden.has(group) ? this.hidden.delete(group) : this.hidden.add(group);
        this.update();
      });
      this.element.querySelector(".groups").append(button);
    }

    choose(index) {
      this.only = this.only === index ? null : index;
      this.update();
    }

    shown(point, index) {
      return this.only === null ? !this.hidden.has(point.group) : index === this.only;
    }

    rows() {
      const [x, y] = [this.selects.x.value, this.selects.y.value];
      const [lessX, lessY] = [this.axes[x][1], this.axes[y][1]];
      const timed = [x, y].some((axis) => axis === "p50_us" || axis === "memory_bytes");
      const rows = this.points
        .map((point, index) => ({ ...point, index, x: point[x], y: point[y], text_x: point[`${x}_text`], text_y: point[`${y}_text`] }))
        .filter((row) => this.shown(row, row.index) && row.x !== null && row.y !== null)
        .map((row) => ({ ...row, device_shown: row.device, device: timed ? row.device : "" }));
      const beats = (a, b) => {
        const better = (one, other, less) => (less ? one - other : other - one);
        const dx = better(a.x, b.x, lessX), dy = better(a.y, b.y, lessY);
        return a.device === b.device && dx <= 0 && dy <= 0 && (dx < 0 || dy < 0);
      };
      const spread = (axis) => Math.max(...rows.map((row) => row[axis])) - Math.min(...rows.map((row) => row[axis]));
      const [nearX, nearY] = [spread("x") / 100, spread("y") / 50];
      const same = (a, b) => Math.abs(a.x - b.x) <= nearX && Math.abs(a.y - b.y) <= nearY;
      const within = (row, place) => rows.slice(0, place).filter((other) => same(other, row)).length;
      return rows
        .map((row, place) => ({ ...row, size: 110 * (1 + within(row, place)) ** 1.6, front: !rows.some((other) => beats(other, row)) }))
        .sort((a, b) => b.size - a.size);
    }

    async update() {
      const rows = this.rows();
      const spec = structuredClone(this.spec);
      spec.data = { values: rows.map((row) => ({ ...row, detail: row.device })) };
      const [points] = spec.layer.slice(-1);
      for (const axis of ["x", "y"]) {
        const field = this.selects[axis].value;
        points.encoding[axis].axis = {
          ...points.encoding[axis].axis,
          title: `${this.axes[field][0]} (${this.axes[field][1] ? "less" : "more"} is better)`,
          format: field === "accuracy" ? ".2%" : "~s",
        };
      }
      for (const one of points.encoding.tooltip) {
        if (one.field === "text_x") one.title = this.axes[this.selects.x.value][0];
        if (one.field === "text_y") one.title = this.axes[this.selects.y.value][0];
        if (one.field === "device") one.field = "device_shown", one.title = "device";
      }
      for (const button of this.element.querySelectorAll(".groups button")) {
        const on = this.points.some((point, index) => point.group === button.dataset.group && this.shown(point, index));
        button.setAttribute("aria-pressed", String(on));
      }
      for (const row of this.element.querySelectorAll("tr[data-point]")) {
        const index = Number(row.dataset.point);
        row.hidden = !this.shown(this.points[index], index);
        row.classList.toggle("chosen-row", this.only === index);
        row.querySelector("button").setAttribute("aria-pressed", String(this.only === index));
      }
      const chosen = this.only === null ? null : this.points[this.only];
      this.element.querySelector(".chosen").textContent = chosen ? `${chosen.name}, ${chosen.group}: ${chosen.recipe}` : "";
      this.clear.hidden = !chosen && !this.hidden.size;
      const description = `Pareto chart of ${rows.length} points; the table below has them`;
      try {
        const result = await draw(this.place, spec, description);
        result.view.addEventListener("click", (_, item) => {
          if (item?.datum?.index !== undefined) this.choose(item.datum.index);
        });
      } catch (error) {
        failed(this.place, error);
      }
    }
  }

  function symbol(index) {
    const paths = {
      circle: "M5 0A5 5 0 1 1 5 10A5 5 0 1 1 5 0Z", square: "M1 1H9V9H1Z", "triangle-up": "M5 0L10 9H0Z",
      diamond: "M5 0L10 5L5 10L0 5Z", cross: "M3 0H7V3H10V7H7V10H3V7H0V3H3Z", "triangle-down": "M0 1H10L5 10Z",
      "triangle-right": "M1 0L10 5L1 10Z", "triangle-left": "M9 0L0 5L9 10Z",
    };
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", paths[SHAPES[(index + Math.floor(index / SHAPES.length)) % SHAPES.length]]);
    path.style.fill = `var(--series-${index % SHAPES.length})`;
    svg.append(path);
    return svg;
  }

  // The theme: what the system says, or what was chosen; a file from disk may have nowhere to keep it.
  const choice = document.getElementById("theme");
  const kept = { get: () => { try { return localStorage.getItem("report-theme"); } catch { return null; } },
                 set: (value) => { try { localStorage.setItem("report-theme", value); } catch { /* not kept */ } } };
  function redraw() {
    for (const place of places) if (place.dataset.drawn) drawChart(place);
    for (const front of fronts) front.update();
  }
  function applyTheme(first) {
    root.dataset.theme = choice.value || (dark.matches ? "dark" : "light");
    if (!first) redraw();
  }
  choice.value = kept.get() ?? "";
  choice.addEventListener("change", () => { kept.set(choice.value); applyTheme(); });
  dark.addEventListener("change", () => applyTheme());
  applyTheme(true);
  document.querySelector(".top .controls").hidden = false;

  // Print has everything: all charts are drawn first, folded parts opened, in the light theme.
  async function beforePrint() {
    root.dataset.theme = "light";
    const folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of document.querySelectorAll("details.folded")) details.open = true;
    await Promise.all([...places.map((place) => { near.unobserve(place); return drawChart(place); }), ...fronts.map((front) => front.update())]);
    addEventListener("afterprint", () => { for (const details of folded) details.open = false; applyTheme(); }, { once: true });
  }
  document.getElementById("print").addEventListener("click", async () => { await beforePrint(); window.print(); });

  // The browser's own printing waits for no drawing: what was drawn for the dark is turned by the style sheet.
  addEventListener("beforeprint", () => {
    if (root.dataset.theme !== "dark") return;
    root.dataset.theme = "light";
    root.dataset.drawnFor = "dark";
    addEventListener("afterprint", () => { root.dataset.theme = "dark"; delete root.dataset.drawnFor; }, { once: true });
  });

  // Folded charts have no width before they are opened.
  for (const details of document.querySelectorAll("details.folded")) {
    details.addEventListener("toggle", () => { for (const place of details.querySelectorAll("[data-chart]")) if (!place.dataset.drawn) near.observe(place); });
  }

  for (const element of document.querySelectorAll("[data-front]")) {
    const front = new Front(element);
    fronts.push(front);
    requestIdleCallback(() => front.update(), { timeout: 400 }); // what is in the window goes first
  }
  for (const place of places) near.observe(place);

  // What is further down is drawn when the page has nothing else to do, so that it is there to be printed.
  function drawNext() {
    const next = places.find((place) => !place.dataset.drawn && !place.dataset.tried && !place.closest("details:not([open])"));
    if (!next) return;
    next.dataset.tried = "true";
    near.unobserve(next);
    queue = queue.then(() => drawChart(next)).then(later);
  }
  const later = () => requestIdleCallback(drawNext);
  setTimeout(later, 1000);

  // Live: the server says when the report is another one. Where the reader was is kept by the browser.
  // The file that a server leaves on the disk has nobody to ask.
  if (data.live && location.protocol !== "file:") {
    const shown = document.getElementById("live");
    const tell = (text, lost) => { shown.textContent = text; shown.classList.toggle("lost", lost); };
    shown.hidden = false;
    tell("live", false);
    const events = new EventSource(data.live);
    events.addEventListener("report", () => location.reload());
    events.addEventListener("open", () => tell("live", false));
    events.addEventListener("error", () => tell("server has ended", true));
  }
  root.dataset.ready = "true";
})();
