/**
 * A limit on how long one request may wait for something in total. Only time spent waiting counts: work between two
 * waits, such as hashing a password, does not.
 */

/** The limit was reached. */
export class DeadlineExceeded extends Error {}

export class Deadline {
  readonly #milliseconds: number
  #spent = 0
  #waiting = 0
  #since = 0

  /** @param milliseconds that all waits may take together */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds
  }

  /** Whether there is no time left. */
  get isOver(): boolean {
    return this.#left() <= 0
  }

  /**
   * Waits for some work. Waits that overlap count once.
   * @throws DeadlineExceeded when the time is up; the work itself cannot be stopped
   */
  async wait<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#waiting++ === 0) this.#since = performance.now()
    let timer
    const expiry = new Promise<never>((_, reject) => {
      const expire = () => {
        // A timer can be early by a fraction of a millisecond.
        this.#spent = this.#milliseconds
        reject(new DeadlineExceeded(`no answer within ${this.#milliseconds} ms`))
      }
      timer = setTimeout(expire, Math.max(0, this.#left()))
    })
    try {
      return await Promise.race([work(), expiry])
    } finally {
      clearTimeout(timer)
      if (--this.#waiting === 0) this.#spent += performance.now() - this.#since
    }
  }

  #left(): number {
    const running = this.#waiting > 0 ? performance.now() - this.#since : 0
    return this.#milliseconds - this.#spent - running
  }
}
