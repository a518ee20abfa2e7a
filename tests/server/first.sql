-- The database of a server before its tables had versions, as sqlite3 dumps it.
BEGIN TRANSACTION;
CREATE TABLE characters (
	number INTEGER NOT NULL,
	id VARCHAR(64) NOT NULL,
	owner VARCHAR(64) NOT NULL,
	name TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	content VARCHAR(96) NOT NULL,
	PRIMARY KEY (number),
	UNIQUE (id)
);
CREATE TABLE events (
	id VARCHAR(64) NOT NULL,
	type VARCHAR(32) NOT NULL,
	video VARCHAR(64) NOT NULL,
	created_at FLOAT NOT NULL,
	next_attempt FLOAT NOT NULL,
	attempts INTEGER NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES('evt_00000000000000000000000000000005','video.completed','video_00000000000000000000000000000001',1764313200.0,1764313200.0,0);
INSERT INTO "events" VALUES('evt_00000000000000000000000000000006','video.failed','video_00000000000000000000000000000002',1764313200.0,1764313200.0,0);
CREATE TABLE files (
	number INTEGER NOT NULL,
	id VARCHAR(64) NOT NULL,
	owner VARCHAR(64) NOT NULL,
	filename TEXT NOT NULL,
	purpose VARCHAR(64) NOT NULL,
	bytes BIGINT NOT NULL,
	created_at FLOAT NOT NULL,
	content VARCHAR(96) NOT NULL,
	seconds FLOAT NOT NULL,
	PRIMARY KEY (number),
	UNIQUE (id)
);
CREATE TABLE keys (
	id VARCHAR(64) NOT NULL,
	name TEXT NOT NULL,
	hash VARCHAR(64) NOT NULL,
	created_at FLOAT NOT NULL,
	revoked BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (hash)
);
INSERT INTO "keys" VALUES('key_00000000000000000000000000000007','alice','35690a265df14ae1bfc555010455e73154db0347a79497e57444979cc30a02de',1764313200.0,0);
CREATE TABLE repeats (
	owner VARCHAR(64) NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	request VARCHAR(64) NOT NULL,
	video VARCHAR(64) NOT NULL,
	created_at FLOAT NOT NULL,
	UNIQUE (owner, "key")
);
INSERT INTO "repeats" VALUES('local','again','0000000000000000000000000000000000000000000000000000000000000000','video_00000000000000000000000000000004',1764313200.0);
CREATE TABLE videos (
	number INTEGER NOT NULL,
	id VARCHAR(64) NOT NULL,
	owner VARCHAR(64) NOT NULL,
	status VARCHAR(16) NOT NULL,
	priority INTEGER NOT NULL,
	progress INTEGER NOT NULL,
	created_at FLOAT NOT NULL,
	started_at FLOAT,
	completed_at FLOAT,
	expires_at FLOAT,
	model TEXT NOT NULL,
	prompt TEXT NOT NULL,
	task VARCHAR(32) NOT NULL,
	spec JSON NOT NULL,
	shape TEXT NOT NULL,
	seconds FLOAT NOT NULL,
	size VARCHAR(32) NOT NULL,
	remixed_from VARCHAR(64),
	error JSON,
	worker VARCHAR(64),
	lease FLOAT,
	attempts INTEGER NOT NULL,
	file VARCHAR(96),
	thumbnail VARCHAR(96),
	spritesheet VARCHAR(96),
	PRIMARY KEY (number),
	UNIQUE (id)
);
INSERT INTO "videos" VALUES(1,'video_00000000000000000000000000000001','local','completed',0,100,1764313200.0,1764313200.0,1764313200.0,NULL,'toy','completed','text','{}','',1.0,'16x16',NULL,NULL,NULL,NULL,1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.mp4','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.webp','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.jpg');
INSERT INTO "videos" VALUES(2,'video_00000000000000000000000000000002','local','failed',0,0,1764313200.0,1764313200.0,1764313200.0,NULL,'toy','failed','text','{}','',1.0,'16x16',NULL,'{"code": "server_error", "message": "no", "param": null, "type": "video_generation_error"}',NULL,NULL,1,NULL,NULL,NULL);
INSERT INTO "videos" VALUES(3,'video_00000000000000000000000000000003','local','in_progress',0,0,1764313200.0,1764313200.0,NULL,NULL,'toy','in progress','text','{}','',1.0,'16x16',NULL,NULL,'w',1764313220.0,1,NULL,NULL,NULL);
INSERT INTO "videos" VALUES(4,'video_00000000000000000000000000000004','local','queued',0,0,1764313200.0,NULL,NULL,NULL,'toy','queued','text','{}','',2.5,'16x16',NULL,NULL,NULL,NULL,0,NULL,NULL,NULL);
CREATE TABLE workers (
	id VARCHAR(64) NOT NULL,
	model TEXT NOT NULL,
	config JSON NOT NULL,
	started_at FLOAT NOT NULL,
	seen_at FLOAT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX videos_by_owner ON videos (owner, number);
CREATE INDEX videos_by_status ON videos (status, priority, number);
CREATE INDEX files_by_owner ON files (owner, number);
COMMIT;
