// What several pages share: parts that need a script are shown, the address copied, pictures saved as PNG.
export function begin() {
  document.querySelectorAll(".for-script").forEach((each) => { each.hidden = false; });
  const share = document.getElementById("share");
  const shared = document.getElementById("shared");
  share?.addEventListener("click", async () => { shared.textContent = await copy(location.href) ? "Copied" : location.href; });
  document.querySelectorAll("button[data-png]").forEach((button) => {
    button.addEventListener("click", () => savePng(button.dataset.png, button.dataset.name));
  });
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

async function savePng(source, name) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const scale = Math.min(2, 16000 / Math.max(picture.naturalWidth, picture.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth * scale;
  canvas.height = picture.naturalHeight * scale;
  const brush = canvas.getContext("2d");
  brush.imageSmoothingEnabled = false;
  brush.drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}
