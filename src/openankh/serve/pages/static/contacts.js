// The contact map: each probable pair on both sides of the diagonal.
import { dark, sequential, shade } from "./colours.js";

const EDGE = 34;

export class Contacts {
  constructor(canvas, dossier, told) {
    Object.assign(this, { canvas, told, length: dossier.length, sequence: dossier.sequence });
    this.shares = new Map(dossier.contacts.pairs.map(([i, j, share]) => [i * 100_000 + j, share]));
    const pairs = dossier.contacts.pairs;
    this.limit = pairs.length ? pairs[Math.min(Math.floor(dossier.length / 5), pairs.length - 1)][2] : 1;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.told(""));
    dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get side() { return this.canvas.clientWidth - EDGE; }

  point(event) {
    const place = (offset) => Math.floor((offset / this.side) * this.length) + 1;
    const [i, j] = [place(event.offsetX - EDGE), place(event.offsetY)].sort((one, other) => one - other);
    if (i < 1 || j > this.length) return this.told("");
    const share = this.shares.get(i * 100_000 + j);
    this.told(`${this.sequence[i - 1]}${i} – ${this.sequence[j - 1]}${j}: ${share === undefined ? "under 0.05, or too near" : share.toFixed(2)}`);
  }

  draw() {
    const { canvas, length } = this, scale = devicePixelRatio || 1;
    if (!canvas.clientWidth) return;
    canvas.width = canvas.height = canvas.clientWidth * scale;
    const brush = canvas.getContext("2d");
    brush.scale(scale, scale);
    brush.imageSmoothingEnabled = false;
    const picture = document.createElement("canvas");
    picture.width = picture.height = length;
    const image = new ImageData(length, length);
    const ground = sequential(0);
    for (let at = 0; at < image.data.length; at += 4) image.data.set([...ground, 255], at);
    for (const [key, share] of this.shares) {
      const i = Math.floor(key / 100_000) - 1, j = (key % 100_000) - 1, colour = sequential(share / this.limit);
      image.data.set(colour, 4 * (i * length + j));
      image.data.set(colour, 4 * (j * length + i));
    }
    picture.getContext("2d").putImageData(image, 0, 0);
    brush.drawImage(picture, EDGE, 0, this.side, this.side);
    brush.strokeStyle = shade("line");
    brush.strokeRect(EDGE + 0.5, 0.5, this.side - 1, this.side - 1);
    this.words(brush);
    canvas.dataset.drawn = "yes";
  }

  words(brush) {
    brush.font = "11px system-ui, sans-serif";
    brush.fillStyle = shade("soft");
    brush.textBaseline = "middle";
    const step = [10, 20, 25, 50, 100, 250, 500, 1000].find((each) => (each / this.length) * this.side >= 44) || 2500;
    for (let place = step; place <= this.length; place += step) {
      const at = ((place - 0.5) / this.length) * this.side;
      brush.textAlign = "right";
      brush.fillText(String(place), EDGE - 6, at);
      brush.textAlign = "center";
      brush.fillText(String(place), EDGE + at, this.side + 14);
    }
  }
}
