// Sounds and pictures as data URLs; what the service cannot decode (WebM, MP4) becomes a wave of 16 kHz first.
const RATE = 16000;
const KNOWN = /\.(wav|flac|ogg|oga|opus|mp3|aiff?)$/i;

export const asUrl = (blob) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => failed(reader.error);
  reader.readAsDataURL(blob);
});

/** A chosen file of sound as a data URL. */
export const soundOf = async (file) => asUrl(KNOWN.test(file.name) ? file : await waveOf(file));

/** The same sound as WAV: mono, 16 bits, 16 kHz. */
async function waveOf(blob) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const decoded = await context.decodeAudioData(await blob.arrayBuffer());
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, at) => decoded.getChannelData(at));
  const wave = new DataView(new ArrayBuffer(44 + 2 * decoded.length));
  const letters = (at, text) => [...text].forEach((letter, more) => wave.setUint8(at + more, letter.charCodeAt(0)));
  letters(0, "RIFF");
  wave.setUint32(4, 36 + 2 * decoded.length, true);
  letters(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, RATE, 4], [28, 2 * RATE, 4], [32, 2, 2], [34, 16, 2]].forEach(([at, value, size]) =>
    size === 4 ? wave.setUint32(at, value, true) : wave.setUint16(at, value, true));
  letters(36, "data");
  wave.setUint32(40, 2 * decoded.length, true);
  for (let at = 0; at < decoded.length; at += 1) {
    const mean = channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length;
    wave.setInt16(44 + 2 * at, 32767 * Math.max(-1, Math.min(1, mean)), true);
  }
  return new Blob([wave], { type: "audio/wav" });
}

/** Begin to record, after `also` was given the microphone; gives a function that ends it and gives a data URL. */
export async function recording(also) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.start();
  const end = await also(stream).catch(() => () => {}); // a recording is made all the same
  return () => new Promise((done, failed) => {
    recorder.onstop = () => {
      end();
      stream.getTracks().forEach((each) => each.stop());
      waveOf(new Blob(parts, { type: recorder.mimeType })).then(asUrl).then(done, failed);
    };
    recorder.stop();
  });
}

const HEADS = { iVBOR: "image/png", "/9j/": "image/jpeg", R0lGOD: "image/gif", Qk: "image/bmp", UklGR: "", ZkxhQ: "audio/flac", T2dnUw: "audio/ogg", SUQz: "audio/mpeg" };

/** What a row holds of a sound or a picture, as an address that the browser can show. */
export function shown(column, held) {
  if (held.startsWith("data:")) return held;
  const known = Object.entries(HEADS).find(([head]) => held.startsWith(head))?.[1];
  const kind = known || (column === "image" ? "image/webp" : held.startsWith("UklGR") ? "audio/wav" : "audio/mpeg");
  return `data:${kind};base64,${held}`;
}
