/**
 * The roles that a user can have. auth/Permissions.ts says what each one may call.
 */

/** The role that administers users. */
export const ADMIN = 'admin'

export const ROLES = ['user', ADMIN] as const

export type Role = (typeof ROLES)[number]

/** The roles of a new user. */
export const DEFAULT_ROLES: readonly Role[] = ['user']
