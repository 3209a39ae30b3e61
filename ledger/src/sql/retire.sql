-- Once every destination that holds, or will hold, something of a superseded result has its note.
update result set retired_at = $2
where result_id = $1 and superseded_by is not null and retired_at is null
  and not exists (select 1 from artifact join delivery on delivery.artifact_id = artifact.artifact_id
                  where artifact.result_id = $1 and artifact.role in ('seg', 'map', 'sr', 'heatmap', 'summary')
                    and delivery.state <> 'dropped'
                    and not exists (select 1 from artifact note
                                    join delivery told on told.artifact_id = note.artifact_id
                                    where note.result_id = $1 and note.role = 'superseding-note'
                                      and told.destination = delivery.destination))
