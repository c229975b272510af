// The form: files chosen or dropped, and the caret put where the text is wrong.
const field = document.getElementById("fasta");
const drop = document.getElementById("drop");
const note = document.getElementById("file-note");
const MOST_BYTES = 4_000_000;

document.querySelectorAll(".for-script").forEach((each) => { each.hidden = false; });

async function take(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  const total = chosen.reduce((sum, file) => sum + file.size, 0);
  if (total > MOST_BYTES) {
    note.textContent = "That is more than 4 MB of text; the command line takes files of any size.";
    return;
  }
  const texts = await Promise.all(chosen.map((file) => file.text()));
  field.value = texts.map((text) => text.replace(/\r\n?/g, "\n").replace(/\n*$/, "\n")).join("");
  const count = (field.value.match(/^>/gm) || []).length;
  note.textContent = `${chosen.map((file) => file.name).join(", ")}: ${count} ${count === 1 ? "protein" : "proteins"}`;
  field.focus();
}

document.getElementById("file").addEventListener("change", (event) => take(event.target.files));
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", (event) => {
  if (!drop.contains(event.relatedTarget)) drop.classList.remove("over");
});
drop.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});

const line = Number(field.dataset.line);
if (line) {
  const lines = field.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  const column = Number(field.dataset.column);
  const from = start + Math.max(column - 1, 0);
  field.focus();
  field.setSelectionRange(from, column ? from + 1 : start + (lines[line - 1] || "").length);
  field.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(field).lineHeight));
}
