import { createServer } from 'node:net'

/** @returns whether a server can listen there */
export const isFree = async (host: string, port: number) => (await listen(host, port)) !== undefined

/** @returns a port that is free now */
export async function freePort(host: string): Promise<number> {
  const port = await listen(host, 0)
  if (port === undefined) throw new Error(`No port is free on ${host}.`)
  return port
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
