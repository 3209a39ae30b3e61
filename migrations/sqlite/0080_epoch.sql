-- A sign-in is good while its account's epoch is the one that it was given out in: whatever signs the account out
-- everywhere begins a new one, also for a sign-in that is being given out at that moment.
alter table account add column epoch integer not null default 0;
alter table session add column epoch integer not null default 0;
