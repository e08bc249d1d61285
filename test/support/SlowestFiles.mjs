/** A Jest reporter: ends a run with the files that took longest. */
import { relative } from 'node:path'

const COUNT = 10

export default class SlowestFiles {
  /**
   * @param {unknown} _contexts
   * @param {{ testResults: { testFilePath: string, perfStats: { runtime: number } }[] }} results
   */
  onRunComplete(_contexts, { testResults }) {
    if (testResults.length <= COUNT) return
    const slowest = testResults.toSorted((a, b) => b.perfStats.runtime - a.perfStats.runtime).slice(0, COUNT)
    const lines = slowest.map(
      ({ testFilePath, perfStats: { runtime } }) =>
        `${(runtime / 1000).toFixed(1).padStart(6)} s  ${relative('', testFilePath)}`,
    )
    process.stderr.write(`\nThe ${COUNT} slowest files:\n${lines.join('\n')}\n`)
  }
}
