/**
 * The roles that a user can have. What each may call is in auth/Permissions.ts.
 */

/** The role that administers users. */
export const ADMIN = 'admin'

/** Every role. */
export const ROLES = ['user', ADMIN] as const

export type Role = (typeof ROLES)[number]

/** What a new user is. */
export const DEFAULT_ROLES: readonly Role[] = ['user']
