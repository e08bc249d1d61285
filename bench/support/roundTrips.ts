/**
 * How often some work waits for the database: not by counting commands, of which several can be under way at the same
 * time, but by how much longer it takes when the database is further away.
 */
import type { Proxy } from '../../support/proxy.ts'
import { difference, interleave, timed } from '../../support/measure.ts'

const CALLS = 9
/** Milliseconds each way: longer than what else makes one call slower than another. */
const DISTANCE = 50

/** @param proxy before the database of the work */
export async function roundTrips(proxy: Proxy, work: () => Promise<unknown>): Promise<number> {
  const at = async (distance: number) => {
    proxy.delay(distance)
    try {
      return await timed(work)
    } finally {
      proxy.delay(0)
    }
  }
  const times = await interleave(CALLS, { near: () => at(0), far: () => at(DISTANCE) })
  return difference(times.far, times.near) / (2 * DISTANCE)
}
