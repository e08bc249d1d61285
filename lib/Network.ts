/**
 * Whose an address is: the network of an IP address, for limits per client, and whether a host is this machine.
 */

/**
 * @param address IPv4 or IPv6, or null if unknown
 * @returns an IPv4 address unchanged. For IPv6, the /64, because one customer can use every address in it
 */
export function networkOf(address: string | null): string {
  if (address === null || !address.includes(':')) return address ?? ''
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped) return mapped
  const [head, tail] = address.toLowerCase().split('::') as [string, string?]
  const groups = head === '' ? [] : head.split(':')
  const tailLength = tail ? tail.split(':').length : 0
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - tailLength)
  const all = [...groups, ...Array.from({ length: zeros }, () => '0'), ...(tail ? tail.split(':') : [])]
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}

/**
 * Returns whether a host is this machine, where nobody can listen in. It compares the whole name, because anyone can own
 * 127.0.0.1.example.com.
 * @param hostname of a URL, or of a list of hosts, where IPv6 has no brackets
 */
export const isThisMachine = (hostname: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/i.test(hostname)
