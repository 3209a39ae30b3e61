-- When the last note about a superseded result went into the outbox: nothing more is owed for it.
alter table result add column retired_at bigint;

create index result_unretired on result (superseded_by) where superseded_by is not null and retired_at is null;
