-- An account that nobody has a password of is signed in to with a login that works once; until somebody was, each
-- start gives out a new one.
alter table account add column has_password bigint not null default 1 check (has_password in (0, 1));
alter table account add column signed_in_at bigint;
