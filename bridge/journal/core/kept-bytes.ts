const SLAB_BYTES = 64 * 1024;
/** Larger parts get a buffer of their own. */
const MAX_IN_SLAB = 8 * 1024;
/** Bytes that are at least this share of their memory are not copied. */
const MIN_SHARE = 0.5;

/**
 * Copies small parts of large buffers, so that keeping a part does not keep the whole. A payload is a part of what was
 * read from a socket: 20 bytes may keep 64 KiB. The copies stand one after the other, so copies that are dropped in the
 * order in which they were made free their memory.
 */
export class KeptBytes {
  #slab = Buffer.alloc(0);
  #used = 0;

  keep(bytes: Buffer): Buffer {
    if (bytes.length >= MIN_SHARE * bytes.buffer.byteLength) return bytes;
    if (bytes.length > MAX_IN_SLAB) {
      const copy = Buffer.allocUnsafeSlow(bytes.length);
      bytes.copy(copy);
      return copy;
    }
    if (this.#used + bytes.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const end = this.#used + bytes.copy(this.#slab, this.#used);
    const copy = this.#slab.subarray(this.#used, end);
    this.#used = end;
    return copy;
  }
}
