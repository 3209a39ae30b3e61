-- Superseded results whose objects lie at a destination that was seen to hold all of a successor,
-- and has not been told yet that they are superseded. The first such successor of each comes first.
select old.result_id, delivery.destination, successor.result_id as successor_id
from result old
join artifact on artifact.result_id = old.result_id and artifact.role in ('seg', 'map', 'sr', 'heatmap', 'summary')
join delivery on delivery.artifact_id = artifact.artifact_id and delivery.state in ('sent', 'proved')
join result successor on successor.question = old.question and successor.result_id <> old.result_id
                     and successor.released_at >= old.released_at
                     and coalesce(successor.superseded_by, '') <> old.result_id
where old.superseded_by is not null and old.retired_at is null
  and not exists (select 1 from artifact note join delivery told on told.artifact_id = note.artifact_id
                  where note.result_id = old.result_id and note.role = 'superseding-note'
                    and told.destination = delivery.destination)
  and exists (select 1 from artifact new join delivery there on there.artifact_id = new.artifact_id
              where new.result_id = successor.result_id and there.destination = delivery.destination
                and there.state = 'proved')
  and not exists (select 1 from artifact new join delivery missing on missing.artifact_id = new.artifact_id
                  where new.result_id = successor.result_id and missing.destination = delivery.destination
                    and missing.state not in ('proved', 'dropped'))
group by old.result_id, old.released_at, delivery.destination, successor.result_id, successor.released_at
order by old.released_at, old.result_id, delivery.destination, successor.released_at, successor.result_id
limit $1
