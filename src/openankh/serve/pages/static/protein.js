// A protein's page: tracks, heatmap and contacts drawn from the page's own JSON, all on one scale.
import "./vendor/nightingale.js";
import { dark, shade } from "./colours.js";
import { Contacts } from "./contacts.js";
import { Heatmap, drawScale } from "./heatmap.js";
import { begin, copy } from "./share.js";

const FEW = 4; // pixels a residue has at least when the page opens
const GROUPS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6bb3", "#8c6d1f", "#7a7a7a", "#9aa51a"];
const STRUCTURE = { H: "helix", G: "helix", I: "helix", E: "strand", B: "strand" };
const YES_OR_NO = { N: "no", P: "yes" };
const NAMES = { H: "helix", E: "strand", C: "coil", G: "3-10 helix", I: "π helix", B: "bridge", T: "turn", S: "bend", L: "loop", "-": "loop" };

begin();
const dossier = await (await fetch(document.getElementById("protein").dataset.dossier)).json();
const viewer = document.getElementById("viewer");
const navigation = document.getElementById("navigation");
const readout = document.getElementById("readout");
const copied = document.getElementById("copied");
const range = { start: 1, end: dossier.length };
let heatmap = null;

function tell(text) { readout.textContent = text || "\u00a0"; }

function show(start, span) {
  span = Math.min(Math.max(span, Math.min(8, dossier.length - 1)), dossier.length - 1 || 1);
  start = Math.min(Math.max(start, 1), dossier.length - span);
  const detail = { "display-start": start, "display-end": start + span };
  navigation.dispatchEvent(new CustomEvent("change", { detail, bubbles: true }));
}

viewer.addEventListener("change", (event) => {
  const found = event.detail || {};
  if (found["display-start"] !== undefined) {
    range.start = Number(found["display-start"]);
    range.end = Number(found["display-end"]);
    heatmap?.show(range.start, range.end + 1);
    viewer.dataset.range = `${Math.round(range.start)}-${Math.round(range.end)}`;
  }
  if (found.eventType === "mouseover" && found.feature?.words) tell(found.feature.words);
});

document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
  const span = range.end - range.start, middle = range.start + span / 2;
  if (button.dataset.zoom === "in") show(middle - span / 4, span / 2);
  if (button.dataset.zoom === "out") show(middle - span, span * 2);
  if (button.dataset.zoom === "left") show(range.start - span / 2, span);
  if (button.dataset.zoom === "right") show(range.start + span / 2, span);
  if (button.dataset.zoom === "all") show(1, dossier.length);
}));

function isStructure(track) { return track.classes.every((letter) => letter in NAMES); }

function isYesOrNo(track) { return track.classes.every((letter) => letter in YES_OR_NO); }

function colourOf(track, letter) {
  if (isYesOrNo(track)) return shade(letter === "P" ? "helix" : "rest");
  if (isStructure(track)) return shade(STRUCTURE[letter] || "rest");
  return GROUPS[track.classes.indexOf(letter) % GROUPS.length];
}

// Runs of one class, as Nightingale takes them.
function features(track) {
  const runs = [];
  for (let place = 0; place < track.letters.length; place++) {
    const letter = track.letters[place];
    const last = runs.at(-1);
    if (last && last.letter === letter) last.end = place + 1;
    else runs.push({ letter, start: place + 1, end: place + 1 });
  }
  return runs.map(({ letter, start, end }, number) => {
    const shares = track.confidence.slice(start - 1, end);
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const name = isYesOrNo(track) ? YES_OR_NO[letter] : isStructure(track) ? NAMES[letter] : letter;
    const thin = isYesOrNo(track) ? letter === "N" : isStructure(track) && !STRUCTURE[letter];
    return {
      accession: `${track.task}-${number}`, start, end, color: colourOf(track, letter), shape: thin ? "line" : "rectangle",
      opacity: thin ? 0.7 : Math.max(0.35, mean), words: `${name} ${start}–${end}, mean probability ${mean.toFixed(2)}`,
    };
  });
}

function drawTracks() {
  document.querySelectorAll("nightingale-track[data-track]").forEach((element) => {
    element.data = features(dossier.tracks[Number(element.dataset.track)]);
  });
}

function drawVariants() {
  const canvas = document.getElementById("heatmap");
  if (!canvas || !dossier.variants) return;
  heatmap = new Heatmap(canvas, dossier, (at, name, score, same) => {
    if (!at) return tell("");
    copied.textContent = "";
    tell(same ? `${dossier.sequence[at.place - 1]}${at.place}: the residue itself` : `${name}  ${score > 0 ? "+" : score < 0 ? "−" : ""}${Math.abs(score).toFixed(2)}`);
    navigation.dispatchEvent(new CustomEvent("change", { detail: { type: "highlight", value: `${at.place}:${at.place}` }, bubbles: true }));
  }, async (name) => { copied.textContent = await copy(name) ? `${name} copied` : name; });
  heatmap.wanted = show;
  const scale = () => drawScale(document.getElementById("scale"), document.getElementById("scale-words"), heatmap.limit);
  scale();
  dark.addEventListener("change", scale);
}

function drawContacts() {
  const canvas = document.getElementById("contacts");
  if (!canvas || !dossier.contacts) return;
  const out = document.getElementById("contact-readout");
  new Contacts(canvas, dossier, (text) => { out.textContent = text || "\u00a0"; });
}

await customElements.whenDefined("nightingale-manager");
drawTracks();
drawVariants();
drawContacts();
dark.addEventListener("change", drawTracks);
const room = Math.floor((viewer.clientWidth - 38) / FEW);
setTimeout(() => { show(1, Math.min(dossier.length, room) - 1); viewer.dataset.ready = "yes"; });
