import { setTimeout } from 'node:timers/promises'

/**
 * Waits until a condition holds.
 * @param what is waited for, as the error names it when it does not come within a minute
 */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 60_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`Waited for a minute, and still not: ${what}`)
    await setTimeout(20)
  }
}
