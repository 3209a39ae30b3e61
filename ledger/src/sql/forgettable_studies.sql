select study_uid, last_arrival_at
from study
where forgotten_at is null and last_arrival_at < $1
  and not exists (select 1 from job
                  where job.study_uid = study.study_uid
                    and job.state in ('queued', 'leased', 'running', 'computed', 'failed'))
  and not exists (select 1 from delivery
                  where delivery.study_uid = study.study_uid
                    and delivery.state in ('waiting', 'sending', 'sent', 'parked'))
order by last_arrival_at, study_uid
limit $2
