/**
 * Finds the network that an IP address belongs to.
 */

/** How many bits of an address name the network. */
interface Prefix {
  v4: 24 | 32
  v6: 48 | 56 | 64
}

/**
 * @param address IPv4 or IPv6, or null if unknown
 * @param prefix by default an IPv4 address itself and an IPv6 /64, because one customer can use every address
 *   in it
 * @returns the network, such as `192.0.2.0/24` or `2001:db8:0:0::/64`. An IPv4 address itself has no suffix
 */
export function networkOf(address: string | null, { v4, v6 }: Prefix = { v4: 32, v6: 64 }): string {
  if (address === null) return ''
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped || !address.includes(':')) {
    const own = mapped ?? address
    return v4 === 24 ? own.replace(/\d+$/, '0/24') : own
  }
  const [head, tail] = address.toLowerCase().split('::') as [string, string?]
  const groups = head === '' ? [] : head.split(':')
  const tailLength = tail ? tail.split(':').length : 0
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - tailLength)
  const all = [...groups, ...Array.from({ length: zeros }, () => '0'), ...(tail ? tail.split(':') : [])]
  const kept = all.slice(0, 4).map((group) => Number.parseInt(group, 16))
  if (v6 === 56) kept[3]! &= 0xff00
  return `${kept
    .slice(0, v6 === 48 ? 3 : 4)
    .map((group) => group.toString(16))
    .join(':')}::/${v6}`
}
