import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** @returns whether a server can listen there */
export const isFree = async (host: string, port: number) => (await listen(host, port)) !== undefined

/**
 * Finds a port that is free now, below those that the system gives to outgoing connections: one of these could take
 * it before it is used.
 */
export async function freePort(host: string): Promise<number> {
  for (let tries = 0; tries < 50; tries++) {
    const port = await listen(host, randomInt(10_000, 32_000))
    if (port !== undefined) return port
  }
  throw new Error(`No port is free on ${host}.`)
}

function listen(host: string, port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(undefined))
    probe.listen({ host, port }, () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : undefined))
    })
  })
}
