/**
 * What the limits count together, and what apart. That they hold is in test/database/Throttle.test.ts.
 */
import {
  codeRules,
  confirmationRules,
  emailChangeRules,
  loginRules,
  mailRequestRules,
  mailRules,
  noticeRules,
  registrationRules,
  type Rule,
} from '../../throttle/Rules.ts'
import { networkOf } from '../../lib/Network.ts'
import { limits as names, parseSetting } from '../../api/Settings.ts'

describe('an address counts as its network', () => {
  test.each([
    { name: 'IPv4 as it is', address: '192.0.2.1', want: '192.0.2.1' },
    { name: 'IPv6 by its first 64 bits', address: '2001:db8:1:2:3:4:5:6', want: '2001:db8:1:2::/64' },
    {
      name: 'the last of the same 64',
      address: '2001:db8:1:2:ffff:ffff:ffff:ffff',
      want: '2001:db8:1:2::/64',
    },
    { name: 'zeros left out behind them', address: '2001:db8:1:2::5', want: '2001:db8:1:2::/64' },
    { name: 'zeros left out before them', address: '2001:db8::5', want: '2001:db8:0:0::/64' },
    { name: 'zeros left out in their midst', address: '2001::2:3:4:5:6', want: '2001:0:0:2::/64' },
    { name: 'one zero left out', address: '2001:db8:1::3:4:5:6', want: '2001:db8:1:0::/64' },
    { name: 'zeros left out at the end', address: '2001:db8:1:2::', want: '2001:db8:1:2::/64' },
    { name: 'zeros left out at the beginning', address: '::2:3:4:5:6', want: '0:0:0:2::/64' },
    { name: 'nothing but zeros', address: '::', want: '0:0:0:0::/64' },
    { name: 'leading zeros', address: '2001:0db8:0001:0002:0:0:0:1', want: '2001:db8:1:2::/64' },
    { name: 'capital letters', address: '2001:DB8:A:B::1', want: '2001:db8:a:b::/64' },
    { name: 'a zone', address: 'fe80::1%eth0', want: 'fe80:0:0:0::/64' },
    { name: 'IPv4 in IPv6 as the IPv4', address: '::ffff:192.0.2.1', want: '192.0.2.1' },
    { name: 'the same in capital letters', address: '::FFFF:192.0.2.1', want: '192.0.2.1' },
  ])('$name: $address', ({ address, want }) => {
    expect(networkOf(address)).toBe(want)
  })

  test('the next 64 bits are another', () => {
    expect(networkOf('2001:db8:1:3::1')).not.toBe(networkOf('2001:db8:1:2::1'))
  })

  test.each([
    null,
    '',
    ' ',
    ':',
    ':::',
    '::::::::',
    'unknown',
    'a:b',
    '1:2::3::4',
    '[::1]:80',
    '1.2.3.4:80',
    '::1.2.3.4',
  ])('what is no address is one all the same, and no error: %j', (address) => {
    expect(typeof networkOf(address)).toBe('string')
  })
})

const limits = parseSetting('LIMITS', '{}')
const [ADDRESS, ANOTHER] = ['192.0.2.1', '192.0.2.2']

test('every limit has a counter of its own, and no two ever share one', () => {
  const rules: Rule[] = []
  for (const subject of ['ann@example.com', 'bob@example.com']) {
    for (const address of [ADDRESS, ANOTHER]) {
      rules.push(
        ...loginRules(subject, address, limits),
        ...mailRequestRules('forgots', subject, address, limits),
        ...mailRequestRules('resends', subject, address, limits),
        ...registrationRules(address, limits),
        ...confirmationRules(subject, limits),
        ...codeRules(subject, limits),
        ...emailChangeRules(subject, limits),
        ...mailRules('passwordReset', subject, limits),
        ...noticeRules({ notice: 'passwordReset', email: subject }, limits),
        ...noticeRules({ notice: 'adminAdded', email: subject, subjectId: '1' }, limits),
      )
    }
  }
  const kinds = (limit: string) =>
    new Set(rules.filter((rule) => rule.limit === limit).map(({ id }) => id)).size
  const counted = Object.keys(names).filter((limit) => limit !== 'refreshesPerSession')
  expect(Object.fromEntries(counted.map((limit) => [limit, kinds(limit)]))).toEqual({
    loginFailures: 4,
    loginsPerEmail: 2,
    loginsPerAddress: 2,
    confirmationFailures: 2,
    codesPerUser: 2,
    registrationsPerAddress: 2,
    forgotsPerEmail: 4,
    forgotsPerAddress: 2,
    resendsPerEmail: 4,
    resendsPerAddress: 2,
    emailChangesPerUser: 2,
    mailsPerEmail: 6,
  })
  expect(new Set(rules.map(({ id }) => id)).size).toBe(34)
})
