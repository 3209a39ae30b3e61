-- Released results, newest first; what is null does not matter. How urgent a result is, its job says.
select * from result
where released_at is not null
  and ($1 is null or study_uid = $1) and ($2 is null or model_id = $2) and ($3 is null or outcome = $3)
  and (computed_at, result_id) < ($4, $5)
  and ($7 is null or review_state = $7)
  and ($8 is null or exists (select 1 from job where job.job_id = result.job_id and job.priority = $8))
  and ($9 is null or computed_at >= $9) and ($10 is null or computed_at < $10)
order by computed_at desc, result_id desc
limit $6
