/** Jest's order of files, but those that start processes first: they take longest, also where no earlier run is known. */
import TestSequencer from '@jest/test-sequencer'

export default class LongestFirst extends TestSequencer {
  /**
   * @override
   * @type {TestSequencer['sort']}
   */
  async sort(tests) {
    // oxlint-disable-next-line unicorn/no-array-sort -- a method of this class
    const ordered = await super.sort(tests)
    const startsProcesses = ({ path = '' }) => Number(/[/\\]test[/\\](http|package)[/\\]/.test(path))
    return ordered.toSorted((a, b) => startsProcesses(b) - startsProcesses(a))
  }
}
