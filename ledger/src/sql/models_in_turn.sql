-- $1 now. The best due priority of each model decides; among equals, who was served longest ago.
select model_id
from (select model_queue.model_id,
             (select job.priority from job
              where job.model_id = model_queue.model_id and job.state in ('queued', 'failed') and job.not_before <= $1
              order by job.priority desc, job.created_at, job.job_id
              limit 1) as priority,
             (select max(job.leased_at) from job where job.model_id = model_queue.model_id) as served_at
      from model_queue) as turn
where priority is not null
order by priority desc, coalesce(served_at, 0), model_id
