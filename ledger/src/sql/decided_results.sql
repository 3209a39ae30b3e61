-- Results that a doctor has decided about, with the decision in force and one header of the images.
select result.result_id, result.job_id, result.study_uid, result.model_id, result.model_version, result.review_state, result.findings, result.computed_at,
       review.correction,
       (select instance.header from instance
        where instance.study_uid = job_input.study_uid and instance.series_uid = job_input.series_uid
        order by instance.sop_instance_uid limit 1) as header
from result
join review on review.result_id = result.result_id and review.number = result.review_number
join job_input on job_input.job_id = result.job_id and job_input.channel = 0
where result.review_state in ('accepted', 'rejected', 'corrected')
  and ($1 is null or result.model_id = $1)
  and ($2 is null or result.computed_at >= $2) and ($3 is null or result.computed_at < $3)
order by result.computed_at, result.result_id
