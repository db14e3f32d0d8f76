// A chart of lines over time: an SVG, its scale and its legend.

import { drawn, element, setText } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 140;
const MINUTE_MS = 60_000;

export class Chart {
  /**
   * `lines`: `[{ key, name }]`; a line is drawn by the class `line-<place>`. `format` writes a
   * value.
   */
  constructor(figure, { lines, format, name }) {
    this.format = format;
    this.name = name;
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    for (const height of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
      this.svg.append(drawn("line", { class: "grid", x1: 0, x2: WIDTH, y1: height, y2: height }));
    }
    this.top = element("span", "scale top");
    const plot = element("div", "plot", this.svg, this.top, element("span", "scale bottom", "0"));
    const legend = element("ul", "legend");
    this.lines = lines.map((line, place) => {
      const path = drawn("path", { class: `line line-${place}` });
      this.svg.append(path);
      const sample = drawn("svg", { class: "sample", viewBox: "0 0 24 8", "aria-hidden": "true" });
      sample.append(drawn("path", { class: `line line-${place}`, d: "M0 4H24" }));
      const value = element("strong", "", "–");
      const item = element("li", "", sample, `${line.name} `, value);
      legend.append(item);
      return { ...line, path, value, item };
    });
    this.first = element("span", "");
    const times = element("p", "times", this.first, element("span", "", "now"));
    figure.append(legend, plot, times);
  }

  /** Draws points `{ time, … }` up to `now`, over the minutes that they are of; a line without any value is not mentioned. */
  draw(points, now) {
    const minutes = Math.max(1, Math.ceil((now - (points[0]?.time ?? now)) / MINUTE_MS));
    setText(this.first, `${minutes} min ago`);
    const values = points.flatMap((point) => this.lines.map(({ key }) => point[key] ?? 0));
    const top = ceiling(Math.max(0, ...values));
    const words = [];
    for (const { key, name, path, value, item } of this.lines) {
      path.setAttribute("d", this.#path(points, key, { top, now, spanMs: minutes * MINUTE_MS }));
      const last = points.at(-1)?.[key];
      const text = this.format(last);
      setText(value, text);
      item.hidden = !points.some((point) => point[key] !== undefined);
      if (!item.hidden) {
        words.push(`${name} ${text}`);
      }
    }
    const label = words.length > 0 ? words.join(", ") : "nothing to draw yet";
    setText(this.top, words.length > 0 ? this.format(top) : label);
    this.svg.setAttribute("aria-label", `${this.name}: ${label}`);
  }

  #path(points, key, { top, now, spanMs }) {
    let isDrawing = false;
    let path = "";
    for (const point of points) {
      const value = point[key];
      if (value === undefined) {
        isDrawing = false;
        continue;
      }
      const x = WIDTH - ((now - point.time) / spanMs) * WIDTH;
      const y = HEIGHT - 1 - (value / top) * (HEIGHT - 2);
      path += `${isDrawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isDrawing = true;
    }
    return path;
  }
}

/** The next of 1, 2, 5, 10, … that is not below `value`. */
function ceiling(value) {
  if (value <= 0) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((step) => step * power >= value);
  return (step ?? 10) * power;
}
