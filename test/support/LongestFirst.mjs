/** Jest's order of files, but the longest first, even if no earlier run is known: they start processes, or wait. */
import TestSequencer from '@jest/test-sequencer'

export default class LongestFirst extends TestSequencer {
  /**
   * @override
   * @type {TestSequencer['sort']}
   */
  async sort(tests) {
    // oxlint-disable-next-line unicorn/no-array-sort -- a method of this class
    const ordered = await super.sort(tests)
    const isLong = ({ path = '' }) =>
      Number(
        /[/\\]test[/\\](http[/\\]|package[/\\]|unit[/\\]Keys|database[/\\](Throttle|Outage|Silence))/.test(
          path,
        ),
      )
    return ordered.toSorted((a, b) => isLong(b) - isLong(a))
  }
}
