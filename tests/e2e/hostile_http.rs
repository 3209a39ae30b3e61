//! Clients that mean no good, or do not know better.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use peers::{Http, wait_until};

use crate::{
    review::{add_doctor, seen, sign_in},
    service::Site,
    study::Study,
};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_client_that_never_ends_its_headers_is_let_go() {
    let site = Site::new("");
    let _process = site.spawn_with(&[("OVERREAD__LIMITS__HEADER_SECONDS", "1")]);
    let api = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    let answers = || api.try_get("/livez").ok();
    wait_until("the service to answer", LIMIT, answers);
    let mut slow: Vec<_> = (0..50)
        .map(|_| {
            let mut client = TcpStream::connect(("127.0.0.1", site.http_port())).expect("a connection");
            client.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("the beginning of a head");
            client.set_read_timeout(Some(LIMIT)).expect("a time limit");
            client
        })
        .collect();
    for client in &mut slow {
        let mut answer = Vec::new();
        // An error is as good an end as an answer, as long as it is no time-out of ours.
        if let Err(error) = client.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.contains("408"), "{text}");
    }
    assert_eq!(api.get("/livez").status, 200);
}

/// The most that any of the bodies below may cost, beside what the service holds when idle.
const MEMORY_MB_MAX: u64 = 256;
/// A tree of JSON values over one of them would cost thirty times as much.
const BODY_BYTES: usize = 24_000_000;

#[test]
fn bad_bodies_cost_no_more_memory_than_is_allowed() {
    let site = Site::unlimited(&["meso", "ct-brain-class"]);
    let mut service = site.serve();
    let client = service.api.clone().with_bearer(&site.key("bodies", "technician"));
    let pid = service.process.0.id();
    let idle = memory_mb(pid, "VmRSS:");
    let (rows, form) = ("application/json", "multipart/form-data; boundary=b");
    let predict = "/v1/models/meso/predict";
    for (name, path, kind, body, status) in [
        ("endless rows", predict, rows, repeated("{\"data\": [", "{\"age\": 1},"), 413),
        ("a wide row", predict, rows, repeated("{\"data\": [{", "\"age\": 1,"), 400),
        ("a long name", predict, rows, repeated("{\"data\": [{\"", "a"), 400),
        ("a deep list", predict, rows, repeated("{\"data\": [{\"age\": ", "["), 400),
        ("a long line", predict, "text/csv", repeated("age\n", "1"), 413),
        ("a form without an end", "/predict/ct_classification", form, repeated("--b\r\n", "x"), 400),
        ("a login of a kind", "/v1/auth/login", rows, repeated("{\"name\": \"", "a"), 413),
    ] {
        forget_peak(pid);
        // Who is refused in the middle of his body may hear only that the connection is closed.
        if let Ok(answer) = client.try_post_bytes(path, kind, body) {
            assert!(answer.status == status, "{name}: {} {}", answer.status, answer.text());
        }
        let cost = memory_mb(pid, "VmHWM:").saturating_sub(idle);
        assert!(cost <= MEMORY_MB_MAX, "{name} cost {cost} MB");
    }
    assert!(service.process.is_running());
}

/// Two that are answered at a time, each with 40 MB of values twice over and what the trail keeps of them.
const WIDE_MB_MAX: u64 = 768;

#[test]
fn rows_that_leave_everything_out_cost_no_more_memory_than_is_allowed() {
    let site = Site::unlimited(&["mg-expression"]);
    let mut service = site.serve();
    let client = service.api.clone().with_bearer(&site.key("rows", "technician"));
    let pid = service.process.0.id();
    let idle = memory_mb(pid, "VmRSS:");
    // Of a model with 320 genes a quarter of a megabyte names 28 million values, and the most that is
    // taken five million.
    for (rows, status) in [(87_000, 413), (15_600, 200)] {
        let body = format!("{{\"patient_id\": 12, \"data\": [{}{{}}]}}", "{},".repeat(rows - 1));
        forget_peak(pid);
        let asking: Vec<_> = (0..10)
            .map(|_| {
                let (client, body) = (client.clone(), body.clone().into_bytes());
                std::thread::spawn(move || {
                    let path = "/v1/models/mg-expression/predict";
                    client.try_post_bytes(path, "application/json", body).expect("an answer").status
                })
            })
            .collect();
        for one in asking {
            assert_eq!(one.join().expect("an answer"), status, "{rows} rows");
        }
        let cost = memory_mb(pid, "VmHWM:").saturating_sub(idle);
        assert!(cost <= WIDE_MB_MAX, "ten times {rows} rows cost {cost} MB");
    }
    assert!(service.process.is_running());
}

/// A mask of this length is refused for what it holds, and costs a few buffers.
const MASK_BYTES: usize = 200_000_000;
const MASK_MB_MAX: u64 = 64;

#[test]
fn a_mask_lies_on_the_disk_while_it_is_looked_at() {
    let site = Site::unlimited(&["mr-brain-seg"]);
    add_doctor(&site);
    let service = site.serve();
    Study::small(12).dcmsend(site.dicom_port());
    let doctor = sign_in(&site);
    let (result, etag) = seen(&doctor);
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n".to_vec();
    body.resize(MASK_BYTES, b'x');
    body.extend_from_slice(b"\r\n--b--\r\n");
    let pid = service.process.0.id();
    let idle = memory_mb(pid, "VmRSS:");
    forget_peak(pid);
    let path = format!("{result}/reviews/segmentation");
    let doctor = doctor.with_header("If-Match", &etag);
    let answer = doctor.post_bytes(&path, "multipart/form-data; boundary=b", body);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("label map"), "{}", answer.text());
    let cost = memory_mb(pid, "VmHWM:").saturating_sub(idle);
    assert!(cost <= MASK_MB_MAX, "a mask of {MASK_BYTES} bytes cost {cost} MB");
    assert_eq!(bytes_below(&site.path().join("data/tmp")), 0);
}

#[test]
fn nothing_of_an_image_stays_when_the_service_is_killed_while_it_is_sent() {
    let site = Site::unlimited(&["ct-brain-class"]);
    let mut service = site.serve();
    let key = site.key("images", "technician");
    let mut client = TcpStream::connect(("127.0.0.1", site.http_port())).expect("a connection");
    let head = format!(
        "POST /predict/ct_classification HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000\r\n\r\n\
         --b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.dcm\"\r\n\r\n"
    );
    client.write_all(head.as_bytes()).expect("the head");
    client.write_all(&vec![b'x'; 1_000_000]).expect("a part of the image");
    let folder = site.path().join("data/tmp");
    wait_until("the image to come to the disk", LIMIT, || (bytes_below(&folder) > 500_000).then_some(()));
    let mode = std::fs::metadata(&folder).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    service.process.0.kill().expect("a process of ours");
    service.process.0.wait().expect("its end");
    assert!(bytes_below(&folder) > 500_000, "a kill deletes nothing");
    drop(service);

    let _service = site.serve();
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

fn repeated(begin: &str, again: &str) -> Vec<u8> {
    let mut body = begin.as_bytes().to_vec();
    while body.len() < BODY_BYTES {
        body.extend_from_slice(again.as_bytes());
    }
    body
}

/// proc(5): from here on the kernel counts the highest use anew.
fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
}

fn memory_mb(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line for it");
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number")
        / 1024
}
