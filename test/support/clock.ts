/**
 * The time, for the handlers alone: timers and the driver's own clock go on as ever.
 */

const ALL_BUT_DATE = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const satisfies string[]

/** Moves the time on; from then on it stands still, until jest.useRealTimers(). */
export const moveClock = (milliseconds: number): void => {
  jest.useFakeTimers({ now: Date.now() + milliseconds, doNotFake: [...ALL_BUT_DATE] })
}
