// Checks of values without zod, for modules that the client library loads.

import { ID } from "./id-text.ts";

export type Guard<Value> = (value: unknown) => value is Value;

type Guards<Value> = { [Member in keyof Value]-?: Guard<Value[Member]> };

/** An object with valid members. The compiler reports a member of the type without a guard. Other members are ignored. */
export function object<Value extends object>(guards: Guards<Value>): Guard<Value> {
  const checks = Object.entries(guards) as [string, Guard<unknown>][];
  return (value): value is Value =>
    isObject(value) &&
    checks.every(([member, isValid]) => isValid(Object.hasOwn(value, member) ? value[member] : undefined));
}

/** Like {@link object}, but a member without a guard is invalid. */
export function strict<Value extends object>(guards: Guards<Value>): Guard<Value> {
  return refined(object(guards), (value) => Object.keys(value).every((member) => Object.hasOwn(guards, member)));
}

/** @throws {TypeError} the value is not valid */
export function checked<Value>(isValid: Guard<Value>, value: unknown): Value {
  if (!isValid(value)) throw new TypeError("The value does not have the expected form");
  return value;
}

export function optional<Value>(isValid: Guard<Value>): Guard<Value | undefined> {
  return (value): value is Value | undefined => value === undefined || isValid(value);
}

export function list<Value>(isValid: Guard<Value>, max: number, min = 0): Guard<Value[]> {
  return (value): value is Value[] =>
    Array.isArray(value) && value.length >= min && value.length <= max && value.every(isValid);
}

export function oneOf<const Value extends string>(...values: Value[]): Guard<Value> {
  return (value): value is Value => (values as unknown[]).includes(value);
}

export function either<One, Other>(isOne: Guard<One>, isOther: Guard<Other>): Guard<One | Other> {
  return (value): value is One | Other => isOne(value) || isOther(value);
}

/** A value that is valid, and for which `holds` is true. */
export function refined<Value>(isValid: Guard<Value>, holds: (value: Value) => boolean): Guard<Value> {
  return (value): value is Value => isValid(value) && holds(value);
}

export function text(maxLength = Number.POSITIVE_INFINITY): Guard<string> {
  return (value): value is string => typeof value === "string" && value.length <= maxLength;
}

export function pattern(form: RegExp): Guard<string> {
  return (value): value is string => typeof value === "string" && form.test(value);
}

export function number(min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY): Guard<number> {
  return (value): value is number => Number.isFinite(value) && Number(value) >= min && Number(value) <= max;
}

export function whole(min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): Guard<number> {
  return (value): value is number => Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max;
}

export const isPositive: Guard<number> = refined(number(), (value) => value > 0);

export const isAnything: Guard<unknown> = (_value): _value is unknown => true;

export const isFlag: Guard<boolean> = (value) => typeof value === "boolean";

export const isIdText: Guard<string> = pattern(ID);

const TIME = /^(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z$/;

/** A time as RFC 3339 in UTC. */
export const isTimestamp: Guard<string> = (value): value is string => {
  const day = typeof value === "string" ? TIME.exec(value)?.[1] : undefined;
  if (day === undefined) return false;
  // `Date` makes 2 March of 30 February.
  const midnight = new Date(`${day}T00:00:00Z`);
  return Number.isFinite(midnight.getTime()) && midnight.toISOString().startsWith(day);
};

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
