/**
 * Limits how long one request may wait for something in total. Only the waiting counts. Work between two
 * waits, such as hashing a password, does not.
 */

/** The time is up. */
export class DeadlineExceeded extends Error {}

export class Deadline {
  readonly #milliseconds: number
  #spent = 0
  #waiting = 0
  #since = 0

  /** @param milliseconds how long all waits may take together */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds
  }

  /** Whether there is no time left. */
  get isOver(): boolean {
    return this.#left() <= 0
  }

  /**
   * Waits for some work. Overlapping waits count once.
   * @throws DeadlineExceeded when the time is up. The work itself cannot be stopped
   */
  async wait<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#waiting++ === 0) this.#since = performance.now()
    let timer
    const expiry = new Promise<never>((_, reject) => {
      const expire = () => {
        // A timer can fire a fraction of a millisecond early.
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
