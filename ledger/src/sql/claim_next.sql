-- $1 now, $2 worker, $3 node, $4 boot, $5 end of the lease, $6 models (JSON array) or null, $7 detail of the event.
-- PostgreSQL alone: all that a claim reads and writes in one round trip, in a transaction of its own that is not
-- waited for on the disk. The order of models is that of models_in_turn.sql; a model whose due jobs are all being
-- claimed by others at this moment is passed over.
with unflushed as materialized (select set_config('synchronous_commit', 'off', true)),
turn as materialized (
    select model_id
    from (select model_queue.model_id,
                 (select job.priority from job
                  where job.model_id = model_queue.model_id and job.state in ('queued', 'failed') and job.not_before <= $1
                  order by job.priority desc, job.created_at, job.job_id
                  limit 1) as priority,
                 (select max(job.leased_at) from job where job.model_id = model_queue.model_id) as served_at
          from model_queue
          where $6::text is null or model_queue.model_id in (select json_array_elements_text($6::json))) as model
    where priority is not null
    order by priority desc, coalesce(served_at, 0), model_id),
due as materialized (
    select next.job_id
    from turn
    cross join lateral (select job.job_id from job
                        where job.model_id = turn.model_id and job.state in ('queued', 'failed') and job.not_before <= $1
                        order by job.priority desc, job.created_at, job.job_id
                        limit 1
                        for update skip locked) as next
    limit 1),
claimed as (
    update job
    set state = 'leased', lease_number = lease_number + 1,
        worker_id = $2, node_id = $3, boot_id = $4, lease_until = $5, leased_at = $1, state_since = $1
    where job_id in (select job_id from due)
    returning *),
noted as (
    insert into event (at, kind, study_uid, job_id, actor, request_id, detail)
    select $1, 'job.leased', study_uid, job_id, $2, request_id, $7 from claimed)
select claimed.*,
       coalesce((select json_agg(json_build_object('series', series_uid, 'stack', stack, 'instances', instances::json)
                                 order by channel)
                 from job_input
                 where job_input.job_id = claimed.job_id), '[]')::text as inputs
from claimed cross join unflushed
