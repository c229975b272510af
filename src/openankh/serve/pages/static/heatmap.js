// The heatmap of all single substitutions: a column a residue, on the same scale as the tracks above it.
import { dark, diverging, shade } from "./colours.js";

export const LETTERS = "GPAVLIMFYWSTCNQHKRDE"; // like beside like
const LEFT = 34, RIGHT = 4, BOTTOM = 16;

export class Heatmap {
  // told(place, letter): what is pointed at, or null; chosen(name): what is copied.
  constructor(canvas, dossier, told, chosen) {
    Object.assign(this, { canvas, told, chosen, sequence: dossier.sequence, found: dossier.variants });
    this.start = 1;
    this.end = dossier.length + 1; // where the last residue ends
    this.at = null;
    const sizes = this.found.scores.flat().map(Math.abs).sort((one, other) => one - other);
    this.limit = Math.max(sizes[Math.floor(sizes.length * 0.99)], 1e-6);
    canvas.addEventListener("pointermove", (event) => this.point(this.cell(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => { this.point(this.cell(event)); this.take(); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => { if (!this.at) this.point({ place: Math.ceil(this.start), row: 0 }); });
    dark.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(canvas);
    this.picture = null;
  }

  show(start, end) {
    this.start = start;
    this.end = end;
    this.paint();
  }

  get width() { return (this.canvas.clientWidth - LEFT - RIGHT) / (this.end - this.start); }
  get height() { return (this.canvas.clientHeight - BOTTOM) / LETTERS.length; }
  x(place) { return LEFT + (place - this.start) * this.width; }

  cell(event) {
    const place = Math.floor((event.offsetX - LEFT) / this.width + this.start);
    const row = Math.floor(event.offsetY / this.height);
    if (event.offsetX < LEFT || place < 1 || place > this.sequence.length || row < 0 || row >= LETTERS.length) return null;
    return { place, row };
  }

  score(at) { return this.found.scores[at.place - 1][this.found.columns.indexOf(LETTERS[at.row])]; }
  name(at) { return `${this.sequence[at.place - 1]}${at.place}${LETTERS[at.row]}`; }

  point(at) {
    this.at = at;
    this.told(at, at && this.name(at), at && this.score(at), at && this.sequence[at.place - 1] === LETTERS[at.row]);
    this.paint();
  }

  take() { if (this.at && this.sequence[this.at.place - 1] !== LETTERS[this.at.row]) this.chosen(this.name(this.at)); }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [-10, 0], PageDown: [10, 0] };
    if (event.key === "Enter" || event.key === " ") this.take();
    else if (event.key === "Home" || event.key === "End") this.move(event.key === "Home" ? 1 : this.sequence.length, this.at?.row ?? 0);
    else if (steps[event.key]) this.move((this.at?.place ?? Math.ceil(this.start)) + steps[event.key][0], (this.at?.row ?? 0) + steps[event.key][1]);
    else return;
    event.preventDefault();
  }

  move(place, row) {
    const at = { place: Math.min(Math.max(place, 1), this.sequence.length), row: Math.min(Math.max(row, 0), LETTERS.length - 1) };
    const span = this.end - this.start;
    if (at.place < this.start || at.place + 1 > this.end) this.wanted?.(at.place < this.start ? at.place : at.place + 1 - span, span);
    this.point(at);
  }

  // All cells, one pixel each; drawn once for each colour scheme.
  cells() {
    const scheme = dark.matches;
    if (this.picture && this.scheme === scheme) return this.picture;
    const image = new ImageData(this.sequence.length, LETTERS.length);
    for (let place = 0; place < this.sequence.length; place++) {
      for (let row = 0; row < LETTERS.length; row++) {
        const value = this.found.scores[place][this.found.columns.indexOf(LETTERS[row])];
        image.data.set([...diverging(value, this.limit), 255], 4 * (row * this.sequence.length + place));
      }
    }
    this.picture = document.createElement("canvas");
    this.picture.width = image.width;
    this.picture.height = image.height;
    this.picture.getContext("2d").putImageData(image, 0, 0);
    this.scheme = scheme;
    return this.picture;
  }

  paint() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { canvas } = this, scale = devicePixelRatio || 1;
    if (!canvas.clientWidth) return;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const brush = canvas.getContext("2d");
    brush.scale(scale, scale);
    brush.imageSmoothingEnabled = false;
    const tall = this.height * LETTERS.length;
    brush.save();
    brush.beginPath();
    brush.rect(LEFT, 0, canvas.clientWidth - LEFT - RIGHT, tall);
    brush.clip();
    brush.drawImage(this.cells(), this.x(1), 0, this.sequence.length * this.width, tall);
    this.marks(brush);
    brush.restore();
    this.words(brush, tall);
    canvas.dataset.drawn = "yes";
  }

  marks(brush) {
    brush.fillStyle = dark.matches ? "#dfe6e8" : "#1c2326";
    const first = Math.max(1, Math.floor(this.start)), last = Math.min(this.sequence.length, Math.ceil(this.end));
    const size = Math.min(this.width, this.height, 9) * 0.22;
    for (let place = first; place <= last; place++) {
      const row = LETTERS.indexOf(this.sequence[place - 1]);
      if (row < 0) continue;
      brush.beginPath();
      brush.arc(this.x(place) + this.width / 2, (row + 0.5) * this.height, Math.max(size, 0.7), 0, 7);
      brush.fill();
    }
    if (!this.at) return;
    brush.strokeStyle = shade("text");
    brush.lineWidth = 2;
    brush.strokeRect(this.x(this.at.place) - 1, this.at.row * this.height - 0.5, Math.max(this.width, 3) + 2, this.height + 1);
  }

  words(brush, tall) {
    brush.fillStyle = shade("soft");
    brush.textBaseline = "middle";
    brush.textAlign = "center";
    const family = getComputedStyle(document.documentElement).getPropertyValue("--mono");
    for (const [row, letter] of [...LETTERS].entries()) {
      const here = this.at?.row === row;
      brush.font = `${here ? "700 " : ""}${Math.min(11, this.height * 0.8)}px ${family}`;
      brush.fillStyle = shade(here ? "text" : "soft");
      brush.fillText(letter, LEFT - 12, (row + 0.5) * this.height);
    }
    brush.font = "11px system-ui, sans-serif";
    brush.fillStyle = shade("soft");
    const span = this.end - this.start;
    const step = [5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((each) => each * this.width >= 44) || 5000;
    for (let place = Math.ceil(this.start / step) * step; place < this.start + span && place <= this.sequence.length; place += step) {
      brush.fillText(String(place), this.x(place) + this.width / 2, tall + 10);
    }
  }
}

export function drawScale(canvas, words, limit) {
  const brush = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    brush.fillStyle = `rgb(${diverging((x / (canvas.width - 1)) * 2 - 1, 1).join(" ")})`;
    brush.fillRect(x, 0, 1, canvas.height);
  }
  words.textContent = `−${limit.toFixed(1)} to +${limit.toFixed(1)} nats`;
}
