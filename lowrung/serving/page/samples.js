// What the microphone gives, as 16-bit samples, about twelve messages a second; it runs where sound is made.
class Samples extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(128 * Math.ceil(sampleRate / 12 / 128));
    this.at = 0;
  }

  process([[channel]]) {
    if (!channel) return true;
    for (const value of channel) {
      this.block[this.at] = 32767 * Math.max(-1, Math.min(1, value));
      this.at += 1;
      if (this.at < this.block.length) continue;
      const full = this.block.slice().buffer;
      this.port.postMessage(full, [full]);
      this.at = 0;
    }
    return true;
  }
}

registerProcessor("samples", Samples);
