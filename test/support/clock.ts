/**
 * The time, as the code under test sees it. Timers go on as they are: databases and servers are waited for in real time.
 */

const TIMERS = [
  'clearImmediate',
  'clearInterval',
  'clearTimeout',
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'setInterval',
  'setTimeout',
] as const

/** Stops the clock at a time, in milliseconds since the epoch, until goOn. */
export const stopClock = (now: number): void => {
  jest.useFakeTimers({ now, doNotFake: [...TIMERS] })
}

/** Moves the clock on from now, and stops it there. */
export const moveClock = (milliseconds: number): void => stopClock(Date.now() + milliseconds)

/** Back to the real time. */
export const resetClock = (): void => {
  jest.useRealTimers()
}

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
